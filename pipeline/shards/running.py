"""A Beam pipeline while it runs: begun, waited for, cancelled; and what its failures were before Beam wrapped them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.shards import engine, interrupts, jobs, progress, workers
from pipeline.shards.failures import unmarked
from pipeline.shards.jobs import JobRef
from pipeline.shards.outcomes import DryRun, WebTextError


@dataclass
class Running:
    """A context around a Beam pipeline that runs it at the end and turns marked failures back into what they were.

    `job`: what it does, where it does one; `noted` is told what is worth a word meanwhile.
    """

    pipeline: Any
    run: Callable[[Callable[[], None]], None] = lambda body: body()
    job: JobRef | None = None
    noted: Callable[[str], None] = lambda _note: None

    def __enter__(self) -> Any:
        return self.pipeline

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            return
        try:
            self.run(self.finish)
        except WebTextError:
            raise
        except Exception as failure:
            if interrupts.caused(failure):
                raise KeyboardInterrupt from None
            original = unmarked(str(failure))
            if original is None and self.runner != engine.LOCAL:
                original = engine.failure(self.runner, failure)
            if original is None:
                raise
            raise original from failure

    @property
    def runner(self) -> str:
        """The name of the runner."""
        return type(getattr(self.pipeline, "runner", None)).__name__

    def finish(self) -> None:
        """Run the pipeline to its end; a job elsewhere does not outlive the command that waits. Raises DryRun."""
        result: Any = None
        since = time.monotonic()
        try:
            result = self.submitted()
            if self.pipeline.options.get_all_options()["dry_run"]:
                graph = result.job.proto_pipeline
                raise DryRun(
                    f"a dry run: a job of {graph.ByteSize():,} bytes was built, and not submitted; nothing was made"
                )
            with engine.watching(self.job, lambda: engine.last_message(result), self.noted) as begun:
                result.wait_until_finish()
            if self.job is not None and self.job.elsewhere:
                if not self.job.begun:  # whoever works there found a folder, and no job in it
                    raise jobs.unseen(self.job.name, "the workers")
                start_s = begun[0] - since if begun else None
                self.noted(engine.cost(self.runner, progress.title(), time.monotonic() - since, start_s))
        except (KeyboardInterrupt, SystemExit):
            if self.job is not None:
                self.job.withdraw()  # first, since the service may take long to answer, and this process ends soon
            if result is not None:
                result.cancel()
            raise

    def submitted(self) -> Any:
        """The job, begun. Raises ConfigError: a service elsewhere did not take it, in its own words."""
        if self.runner == engine.LOCAL:
            return self.pipeline.run()
        workers.hush()
        try:
            return self.pipeline.run()
        except Exception as error:
            if interrupts.caused(error) or unmarked(str(error)):
                raise
            raise engine.refused(self.runner, error) from error
