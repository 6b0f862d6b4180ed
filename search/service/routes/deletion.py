"""Deletes sweeps, and prunes the store."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from lstm_sweep.search.service import answers
from lstm_sweep.search.service import shown as shows
from lstm_sweep.search.service.bodies import PruneSubmission
from lstm_sweep.search.service.description import API, SweepName, refusals
from lstm_sweep.search.service.site import TheSite, TheUser, note

router = APIRouter(prefix=API, tags=["sweeps"])

DryRun = Annotated[bool, Query(description="only say what would be deleted")]


@router.delete(
    "/sweeps/{sweep}",
    summary="Delete a sweep",
    responses={
        200: {"model": shows.SweepDeleted},
        **refusals({404: "there is no such sweep", 409: "it runs, waits, or cannot be read"}),
    },
)
async def delete(
    sweep: SweepName, site: TheSite, user: TheUser, dry_run: DryRun = False
) -> Response:
    """Delete a sweep of the user's own, its runs and their files.

    A request that deletes many runs ends before all are deleted: `left` says how many are, and the
    same request goes on.
    """

    def change() -> dict[str, Any]:
        site.check_may_change(user, sweep)
        return site.service.delete(sweep, dry_run=dry_run).to_dict()

    return answers.document(await site.answers.change(change))


@router.post(
    "/prune",
    summary="Delete sweeps that ended long ago",
    responses={200: {"model": shows.StorePruned}},
)
async def prune(body: PruneSubmission, site: TheSite, user: TheUser, request: Request) -> Response:
    """Delete the user's own sweeps that ended long ago, or all of them but their best trials.

    Of an admin it deletes those of all users. As for one sweep, `left` says how many runs are left.
    """
    note(request, **body.model_dump())
    call = partial(
        site.service.prune,
        older_than_s=body.older_than_seconds,
        keep_best=body.keep_best,
        dry_run=body.dry_run,
        owner=None if user.is_admin else user.name,
    )
    return answers.document((await site.answers.change(call)).to_dict())
