"""Verdicts of robots.txt on addresses that were fetched already, taken anew when `pages.obey_agents` has changed.

Choice: robots.txt files are in the segments, and who was obeyed then; so whom to obey is a question about what was
learnt, asked of the addresses on the way to a page and of its own. A link that was not asked because of an agent that
is obeyed no more, or of which the file is not known (before version 4 long ones were not kept), is asked again.
Cost: an address on the way that another shard asked is looked at only where it is the link's. Alternative: crawl again.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.fetch import robots
from pipeline.fetch.hosts import of_robots
from pipeline.fetch.pointers import Row, row_of
from pipeline.fetch.robots import Known, Rules
from pipeline.shards.outcomes import Outcome

OPEN = ""  # the outcome of a link that has to be asked again


class Verdicts:
    """What robots.txt files, the last of each address, say to these agents. `token`: who we are ourselves."""

    def __init__(self, files: Iterable[Known], token: str, agents: tuple[str, ...]) -> None:
        self.files = {file.address: file for file in files}
        self.token = token
        self.agents = agents
        self.rules: dict[str, Rules] = {}

    def against(self, url: str) -> tuple[str, ...] | None:
        """Which of the agents may not fetch an address, as opt-outs; None where its robots.txt is not known."""
        if not self.agents:
            return ()
        address = of_robots(url)
        if address not in self.rules:
            found = self.files.get(address)
            if found is None or found.leads_to:
                return None
            self.rules[address] = robots.rules_for_status(found.status, found.text.encode(), self.token, self.agents)
        return tuple(name for name in self.rules[address].opt_outs(url) if is_of_agent(name))

    def of(self, row: Row, then: tuple[str, ...] | None) -> Row:
        """The row of an end as the agents of today decide it; `then`: those that were obeyed, None = not known."""
        opt_outs = tuple(name for name in row["opt_outs"] if is_of_agent(name))
        refused = bool(opt_outs) and row["outcome"] == Outcome.ROBOTS_DISALLOWED
        if row["errand"] or then == self.agents or not (opt_outs or self.agents):
            return row
        if row["status"] is None and not refused:  # nothing was fetched
            return row
        bare = {**row, "opt_outs": [name for name in row["opt_outs"] if name not in opt_outs]}
        for url in (*(row["via"] or ()), row["final_url"]):
            if against := self.against(url):
                return refusal(bare, url, against)
        return {**bare, "outcome": OPEN} if against is None or refused else bare

    def of_link(self, row: Row, url: str) -> Row:
        """The same of the address that a link was posted with."""
        against = self.against(url) if row["status"] is not None else ()
        return refusal(row, url, against) if against and row["outcome"] != OPEN else row


def refusal(row: Row, url: str, against: tuple[str, ...]) -> Row:
    """The row of a link that is not asked because of what robots.txt says to some agents."""
    opt_outs = tuple(sorted({*row["opt_outs"], *against}))
    return {**row, **row_of(row["doc_id"], None, url, None, "", opt_outs, Outcome.ROBOTS_DISALLOWED)}


def is_of_agent(opt_out: str) -> bool:
    """Whether an opt-out is that of another agent in robots.txt."""
    return opt_out.startswith("robots:") and opt_out != "robots:content-usage"
