"""The two passes of a conversion: read every row once, then write every row once, in its new place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._resources.threads import ahead, hands
from ._schema.schema import NAMES
from ._writing.dataset import DatasetWriter, Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._shuffle.in_memory import Shuffled
    from ._shuffle.job import Job


def write_dataset(job: Job, shuffled: Shuffled, number: int, place: Place, report: Callable[[int], None]) -> None:
    """Write one dataset: the rows at its places in the order.

    Parameters
    ----------
    job
        What is to be done.
    shuffled
        The rows.
    number
        Which dataset.
    place
        Where it goes.
    report
        Called with the number of rows written since the last call.
    """
    statistics, n_obs = shuffled.statistics, max(1, job.survey.n_obs)
    nnz_per_row = {path: nnz / n_obs for path, nnz in statistics.nnz.items()}
    start, stop = job.rows_of(number)
    with hands("encode") as encoding:
        writer = DatasetWriter(
            place, job.survey.schema, statistics.stored, nnz_per_row, job.form, encoding.pool, stop - start
        )
        for block in ahead(shuffled.rows(start, stop)):
            writer.append(block)
            report(len(block[NAMES]))
        writer.close()
