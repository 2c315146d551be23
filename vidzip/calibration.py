"""Measured rates, kept in the user's cache folder: stored by ``vidzip calibrate``, found where costs are predicted.

A calibration holds for one model in one precision on one device, with the libraries and the cores that it was measured
with; after a change of any of them it is not found. Neither torch nor transformers is loaded here, unless a calibration
on a GPU is there to be held against this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import vidzip
from vidzip.cpus import available_cpus
from vidzip.errors import BadCalibration
from vidzip.files import cannot_write, whole_file
from vidzip.planner.costs import AFTER, STAGES, CostModel, ModelShape

SCHEMA = "vidzip/calibration/1"

_LIBRARIES = ("torch", "transformers", "av")
_NAME_LENGTH = 60


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What measured rates hold for, beside a model.

    Attributes:
        device: ``cpu``, ``cuda`` or ``mps``.
        device_name: the processor's or the graphics card's.
        dtype: the model's precision.
        cores: that the process may use.
        threads: what ``OMP_NUM_THREADS`` says; None where it is not set.
        versions: of vidzip and of the libraries that compute and decode.
    """

    device: str
    device_name: str
    dtype: str
    cores: int
    threads: str | None
    versions: Mapping[str, str]

    @staticmethod
    def here(device: str, device_name: str, dtype: str) -> Machine:
        """This machine, as this process sees it."""
        return Machine(
            device=device,
            device_name=device_name,
            dtype=dtype,
            cores=available_cpus(),
            threads=os.environ.get("OMP_NUM_THREADS"),
            versions={"vidzip": vidzip.__version__, **{name: _version(name) for name in _LIBRARIES}},
        )

    @property
    def described(self) -> str:
        """The device, in words."""
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        threads = f", OMP_NUM_THREADS={self.threads}" if self.threads else ""
        return f"{self.device}, {self.device_name}, {cores}{threads}"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Measured rates, and what they hold for.

    Attributes:
        costs: the rates.
        machine: where they were measured.
        asked_device: what was asked for when they were: ``auto``, or the device.
        asked_dtype: likewise.
        measured_at: when that ended, ISO 8601 in UTC.
        took_seconds: how long it took.
    """

    costs: CostModel
    machine: Machine
    asked_device: str
    asked_dtype: str
    measured_at: str
    took_seconds: float

    @property
    def model(self) -> str:
        """The model's name."""
        return self.costs.shape.name

    def is_for(self, model: str, device: str, dtype: str) -> bool:
        """Whether it holds here for a model, on a device and in a precision, each as asked for or as it is."""
        machine, kind = self.machine, device.partition(":")[0]
        return (
            self.model == model
            and kind in (self.asked_device, machine.device)
            and dtype in (self.asked_dtype, machine.dtype)
            and machine == Machine.here(machine.device, machine.device_name, machine.dtype)
            and device_name(machine.device if kind == "auto" else device) == machine.device_name
        )


def now() -> str:
    """The moment, as a calibration notes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def find_costs(model: str, device: str = "auto", dtype: str = "auto") -> CostModel | None:
    """Find what was last measured of a model on this machine.

    Args:
        model: its name, as it was loaded when it was measured.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``auto``, ``float32``, ``float16`` or ``bfloat16``.

    Returns:
        The rates; None where nothing was measured that holds here.

    Raises:
        BadCalibration: a file of this model's cannot be read, or is damaged.
    """
    there = [one for one in stored(model) if one.is_for(model, device, dtype)]
    return max(there, key=lambda one: one.measured_at).costs if there else None


def store(calibration: Calibration) -> str:
    """Keep it, in the place of an older one of the same model on the same machine; returns the file.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    path = os.path.join(folder(), _file_name(calibration))
    record = {"schema": SCHEMA, **asdict(calibration)}
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    with whole_file(path) as file:
        file.write(json.dumps(record, indent=1).encode())
    return path


def stored(model: str) -> Iterator[Calibration]:
    """Read what this vidzip measured of a model, here or elsewhere.

    Raises:
        BadCalibration: a file cannot be read, or is damaged.
    """
    where, ours = folder(), re.compile(rf"{re.escape(_slug(model))}-[0-9a-f]{{16}}\.json")
    names = sorted(os.listdir(where)) if os.path.isdir(where) else []
    for name in filter(ours.fullmatch, names):
        found = _read(os.path.join(where, name))
        if found is not None:
            yield found


def _read(path: str) -> Calibration | None:
    """Read a calibration; None where another version of vidzip measured it, which may have counted otherwise."""
    try:
        with open(path, encoding="utf-8") as file:
            record: dict[str, Any] = json.load(file)
        machine = Machine(**record.pop("machine"))
        if machine.versions["vidzip"] != vidzip.__version__:
            return None
        costs = record.pop("costs")
        model = CostModel(shape=ModelShape(**costs.pop("shape")), **costs)
        _check(record.pop("schema"), model)
        return Calibration(costs=model, machine=machine, **record)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadCalibration(
            f"the calibration {path!r} is damaged: {error!r}",
            hint="remove it, and measure anew with 'vidzip calibrate'",
        ) from error


def folder() -> str:
    """Where calibrations are kept."""
    from platformdirs import user_cache_path

    return str(user_cache_path("vidzip") / "calibration")


def device_name(device: str) -> str | None:
    """What a device of this machine calls itself; None where it is not there.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """
    if device == "cpu":
        return _processor_name()
    if not re.fullmatch(r"mps|cuda(:\d+)?", device):
        return None
    import torch

    if device == "mps":
        return _processor_name() if torch.backends.mps.is_available() else None
    index = int(device.partition(":")[2] or 0)
    return torch.cuda.get_device_name(index) if index < torch.cuda.device_count() else None


def _check(schema: str, costs: CostModel) -> None:
    """Make sure that predictions can be made of what was read.

    Raises:
        ValueError, TypeError, KeyError: they cannot.
    """
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema!r}, not {SCHEMA!r}")
    rates = [rate for stage in (*STAGES, AFTER) for rate in costs.rates[stage].values()]
    errors = [costs.errors[stage] for stage in (*STAGES, AFTER)]
    if not all(0 <= number < float("inf") for number in (*rates, *errors, costs.total_error)):
        raise ValueError("it holds rates or errors that are none")
    if not 0 <= costs.overlap <= 1:
        raise ValueError("its overlap is not between 0 and 1")


def _file_name(calibration: Calibration) -> str:
    """The model's name for people; all that it holds for, as a hash."""
    key = {"shape": asdict(calibration.costs.shape), "machine": asdict(calibration.machine)}
    digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    return f"{_slug(calibration.model)}-{digest}.json"


def _slug(model: str) -> str:
    """A model's name, its end where it is long, as a part of a file's; several may share it."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", model)[-_NAME_LENGTH:].strip("-.") or "model"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _processor_name() -> str:
    """What the processor calls itself: Linux tells it in a file, others to Python."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
