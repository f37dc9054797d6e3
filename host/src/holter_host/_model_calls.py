"""The calls of a device that are about its models."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final

from holter.signature import ModelSignature
from holter.v1 import model_service_pb2 as model_pb
from holter.v1 import model_service_pb2_grpc as model_grpc
from holter_host import _convert, _models
from holter_host._connection import Connection
from holter_host._upload import Upload, UploadStub
from holter_host.bundle import Bundle
from holter_host.enums import ModelState, ProbationState
from holter_host.errors import DeployInProgressError, DeviceUnreachableError, NotFoundError
from holter_host.status import DeployResult, Probation, StoredModel

DEPLOY_SECONDS: Final = 120.0
DEPLOY_RETRIES: Final = 5
VERDICT_POLL_SECONDS: Final = 0.5


class ModelCalls(Connection):
    """Which models a device has, and how it gets another."""

    async def models(self) -> tuple[StoredModel, ...]:
        """The models that the device holds, the active one first, then the newest first."""
        return (await self.holdings())[0]

    async def probation(self) -> Probation | None:
        """How the newest probation does, or did; None where the last swap had none."""
        return (await self.holdings())[1]

    async def holdings(self) -> tuple[tuple[StoredModel, ...], Probation | None]:
        """`models` and `probation`, both of one moment."""
        request = model_pb.ListModelsRequest()
        response = await self._call(model_grpc.ModelServiceStub, "ListModels", request)
        return tuple(map(_convert.stored_model, response.models)), _convert.probation(response)

    async def verdict(
        self, sha256: str, on_window: Callable[[Probation], object] = lambda _: None
    ) -> Probation | None:
        """Wait for the verdict on a model that was deployed; cancel it to wait no longer.

        Args:
            sha256: the model's digest, whole.
            on_window: called with the probation whenever windows have been added to it.

        Returns:
            Its probation, over; None where it has none: there was no model before it, or another
            swap has come since.
        """
        shown = -1
        while True:
            found = await self.probation()
            if found is None or found.sha256 != sha256:
                return None
            if found.state is not ProbationState.RUNNING:
                return found
            if found.window_count != shown:
                shown = found.window_count
                on_window(found)
            await asyncio.sleep(VERDICT_POLL_SECONDS)

    async def deploy(
        self,
        model: str | os.PathLike[str] | bytes | Bundle | Upload,
        *,
        signature: ModelSignature | None = None,
        validate_only: bool = False,
        timeout: float = DEPLOY_SECONDS,
    ) -> DeployResult:
        """Send a model; the device judges it and, if it passes, swaps it in.

        The digest names the model, so an upload that was cut is sent again, a bounded number of
        times: a device that took the first one answers that the model is active already.

        Args:
            model: a model file by its path, its bytes, or as `read_bundle` gave it; or the upload
                that was made of one, which says itself whether it is only to be judged.
            signature: who vouches for it; by default what is in the file beside it, MODEL.sig.
            validate_only: only judge; nothing is stored and nothing swapped.
            timeout: seconds that one try may take, the gate included.

        Raises:
            BadInputError: the path holds no model file.
            ModelRefusedError: the device refused it; `reason` and `metadata` say why. It is raised
                before anything is sent when the file is over the device's limit.
            DeployInProgressError: another deploy is running.
        """
        upload = model
        if not isinstance(upload, Upload):
            limit = self.opened_status.limits.max_model_bytes
            upload = await asyncio.to_thread(
                _models.upload, upload, signature, limit, self.address, validate_only
            )

        async def attempt() -> DeployResult:
            response = await self._call(UploadStub, "DeployModel", upload.request, timeout)
            return _convert.deploy_result(response)

        return await self._repeat(attempt, upload.sha256)

    async def delete(self, sha256: str) -> StoredModel:
        """Delete a stored model; the active one and the one before it stay.

        Args:
            sha256: its digest, or 8 or more first digits of it that no other model has.

        Returns:
            It, as it was.

        Raises:
            NotFoundError: the device holds no such model.
            BadInputError: that is no digest, or more than one model begins like that.
            ModelRefusedError: it is in use (MODEL_IN_USE).
            DeployInProgressError: a deploy is running.
        """
        request = model_pb.DeleteModelRequest(sha256=await self._whole_digest(sha256))
        response = await self._call(model_grpc.ModelServiceStub, "DeleteModel", request)
        return _convert.stored_model(response.model)

    async def rollback(self, *, timeout: float = DEPLOY_SECONDS) -> DeployResult:
        """Go back to the model before: at once during a probation, later through the gate.

        Raises:
            NotFoundError: the device has none.
            ModelRefusedError, DeployInProgressError: as `deploy`.
        """
        for model in await self.models():
            if model.state is ModelState.PREVIOUS:
                return await self.activate(model.sha256, timeout=timeout)
        raise NotFoundError(
            f"The device at {self.address} has no model before the active one; see: holter models",
            reason="MODEL_NOT_FOUND",
        )

    async def activate(self, sha256: str, *, timeout: float = DEPLOY_SECONDS) -> DeployResult:
        """Make a stored model the active one, through the same gate as a deploy.

        Args:
            sha256: its digest, or 8 or more first digits of it that no other model has.
            timeout: seconds that it may take, the gate included.

        Raises:
            NotFoundError: the device holds no such model.
            BadInputError: that is no digest, or more than one model begins like that.
            ModelRefusedError, DeployInProgressError: as `deploy`.
        """
        request = model_pb.ActivateModelRequest(sha256=await self._whole_digest(sha256))
        kind = model_grpc.ModelServiceStub
        return _convert.deploy_result(await self._call(kind, "ActivateModel", request, timeout))

    async def _whole_digest(self, sha256: str) -> str:
        whole = _models.checked_prefix(sha256)
        if len(whole) == 64:
            return whole
        return _models.whole_digest(whole, await self.models(), self.address)

    async def _repeat(
        self, attempt: Callable[[], Awaitable[DeployResult]], sha256: str
    ) -> DeployResult:
        """Try, and try again where the connection broke.

        After a cut upload the device may still be at work on it: a deploy in progress of this very
        digest is then ours, and worth waiting for.
        """
        cut = False
        for number in range(DEPLOY_RETRIES):
            try:
                return await attempt()
            except DeviceUnreachableError:
                cut = True
            except DeployInProgressError as error:
                if not cut or error.metadata.get("sha256") != sha256:
                    raise
            await self._backoff.sleep(self._backoff.wait(number))
        return await attempt()
