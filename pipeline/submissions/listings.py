"""Listings of Reddit's API: one answer sorted out, and the walk from page to page.

Choice: an answer is read as data, field by field, and every item has one fate; one bad item loses no page. Cost: the
fields wanted are named here. Alternative: objects of a client library, which hide what was missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pipeline.shards.outcomes import Outcome
from pipeline.submissions.rows import HIGHEST_SCORE, LATEST_UTC, Name, Submission
from pipeline.urls import LONGEST_POSTED

PAGE = 100  # most items of one answer: reddit.com/dev/api, "listings"
MOST_PAGES = 100  # of one listing; Reddit's end at 1,000 items, ten full pages

Ask = Callable[[str, Mapping[str, str | int]], Any]  # path and parameters to the JSON of the answer


class Unreadable(Exception):  # noqa: N818 - an answer, not a failure
    """Reddit does not give what was asked for; others may still be read."""

    def __init__(self, outcome: Outcome, status: int = 0) -> None:
        super().__init__(f"{outcome.meaning} (HTTP {status})" if status else outcome.meaning)
        self.outcome, self.status = outcome, status


class Page(NamedTuple):
    """One answer: its link posts, the ids of those deleted, the fates of all other items, and where it goes on."""

    submissions: list[Submission]
    gone: list[str]
    fates: Counter[Outcome]
    items: int
    names: list[str]  # of all items that have one, t3_… for submissions
    newest_utc: int  # of its submissions, text posts too; 0: none
    after: str | None


class Child(msgspec.Struct):
    """An item of a listing, by kind: t3 is a submission, t1 a comment, t5 a subreddit."""

    kind: str = ""
    data: dict[str, Any] = {}


class Children(msgspec.Struct):
    """The inside of a listing."""

    children: list[Any]
    after: Annotated[str, Meta(max_length=64)] | None = None


class Listing(msgspec.Struct):
    """A listing as the API gives it."""

    data: Children


class Shown(msgspec.Struct):
    """The fields wanted of a submission."""

    id: Annotated[str, Meta(pattern="^[0-9a-z]+$", max_length=64)]
    created_utc: Annotated[float, Meta(ge=0, le=LATEST_UTC)]
    score: Annotated[int, Meta(ge=-HIGHEST_SCORE, le=HIGHEST_SCORE)]
    subreddit: Name
    url: str = ""
    over_18: bool = False
    is_self: bool = False
    author: str | UnsetType | None = UNSET
    removed_by_category: str | UnsetType | None = UNSET  # "deleted" by its author, or by "moderator", "reddit", …
    is_robot_indexable: bool | None = None

    def gone(self) -> bool:
        """Whether the submission was deleted by its author, or removed by anybody.

        A post of a deleted account has no author either, but stays on Reddit, open to robots; no author is kept here.
        Answers of old, without `removed_by_category`, cannot tell the two: then it counts as deleted.
        """
        if self.removed_by_category is not UNSET and self.removed_by_category is not None:
            return True
        if self.author not in (None, "[deleted]"):
            return False
        return self.removed_by_category is UNSET or self.is_robot_indexable is False


def page_of(value: Any) -> Page:
    """An answer's items, sorted out. Raises Unreadable (BAD_ANSWER): not a listing."""
    try:
        data = msgspec.convert(value, Listing).data
    except msgspec.ValidationError:
        raise Unreadable(Outcome.BAD_ANSWER, 200) from None
    page = Page([], [], Counter(), len(data.children), [], 0, data.after)
    newest = 0
    for item in data.children:
        try:
            child = msgspec.convert(item, Child)
            if isinstance(name := child.data.get("name"), str):
                page.names.append(name)
            shown = msgspec.convert(child.data, Shown) if child.kind == "t3" else None
        except msgspec.ValidationError:
            shown = None
        if shown is None:
            page.fates[Outcome.BAD_LINE] += 1
            continue
        newest = max(newest, int(shown.created_utc))
        url = posted(shown.url)
        if shown.gone():
            page.gone.append(shown.id)
        elif shown.is_self:
            page.fates[Outcome.SELF_POST] += 1
        elif not url or len(url) > LONGEST_POSTED:
            page.fates[Outcome.BAD_URL] += 1
        else:
            row = (shown.id, url, shown.score, int(shown.created_utc), shown.subreddit, shown.over_18)
            page.submissions.append(Submission(*row))
    return page._replace(newest_utc=newest)


def posted(url: str) -> str:
    """The address as posted: PRAW asks for `raw_json`, so it holds no entities; links into Reddit may be bare paths."""
    url = url.strip()
    return f"https://www.reddit.com{url}" if url.startswith("/") and not url.startswith("//") else url


def walk(ask: Ask, path: str, params: Mapping[str, str | int], after: str | None = None) -> Iterator[Page]:
    """The pages of a listing, from `after` on, to its end, or to a page that shows nothing the walk has not seen.

    Raises what `ask` raises, after the pages before it have been given.
    """
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        page = page_of(ask(path, {**params, "limit": PAGE, **({"after": after} if after else {})}))
        if not set(page.names) - seen:  # the end, or Reddit repeats itself
            return
        seen.update(page.names)
        yield page
        after = page.after
        if after is None:
            return


def info(ask: Ask, ids: Sequence[str]) -> Page:
    """What Reddit shows now of at most 100 submissions."""
    return page_of(ask("api/info/", {"id": ",".join(f"t3_{key}" for key in ids)}))
