"""Calibrations in the user's cache folder: measured rates, saved by ``vidzip calibrate`` and used to predict costs.

A calibration is valid for one model in one precision on one device, with the libraries and the cores that it was
measured with. Torch is imported only to compare a GPU's calibration with this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vidzip.cpus import available_cpus
from vidzip.errors import BadCalibration
from vidzip.files import atomic_file, write_error
from vidzip.planner.costs import GENERATE, STAGES, CostModel, ModelShape
from vidzip.version import __version__

SCHEMA = "vidzip/calibration/1"

_LIBRARIES = ("torch", "transformers", "av")
_NAME_LENGTH = 60


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine, precision and libraries that measured rates are valid for.

    Attributes:
        device: ``cpu``, ``cuda`` or ``mps``.
        device_name: the name of the processor or GPU.
        dtype: the model's precision.
        cores: CPU cores that the process may use.
        threads: the value of ``OMP_NUM_THREADS``; None if unset.
        versions: of vidzip and of the libraries that compute and decode.
    """

    device: str
    device_name: str
    dtype: str
    cores: int
    threads: str | None
    versions: Mapping[str, str]

    @staticmethod
    def current(device: str, device_name: str, dtype: str) -> Machine:
        """Describe this machine as this process sees it."""
        return Machine(
            device=device,
            device_name=device_name,
            dtype=dtype,
            cores=available_cpus(),
            threads=os.environ.get("OMP_NUM_THREADS"),
            versions={"vidzip": __version__, **{name: _version(name) for name in _LIBRARIES}},
        )

    @property
    def description(self) -> str:
        """The device with its cores and threads."""
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        threads = f", OMP_NUM_THREADS={self.threads}" if self.threads else ""
        return f"{self.device}, {self.device_name}, {cores}{threads}"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Measured rates with their validity.

    Attributes:
        costs: the rates.
        machine: the machine that they were measured on.
        asked_device: the device that was requested: ``auto``, or a device.
        asked_dtype: the precision that was requested: ``auto``, or a precision.
        measured_at: end of the measurement, ISO 8601 in UTC.
        took_seconds: its duration.
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

    def matches(self, model: str, device: str, dtype: str) -> bool:
        """Whether it is valid here for a model and for a requested or actual device and precision."""
        machine, kind = self.machine, device.partition(":")[0]
        return (
            self.model == model
            and kind in (self.asked_device, machine.device)
            and dtype in (self.asked_dtype, machine.dtype)
            and machine == Machine.current(machine.device, machine.device_name, machine.dtype)
            and device_name(machine.device if kind == "auto" else device) == machine.device_name
        )


def find_costs(model: str, device: str = "auto", dtype: str = "auto") -> CostModel | None:
    """Find the latest measured rates of a model that are valid on this machine.

    Args:
        model: the model's name, as it was loaded for the measurement.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``auto``, ``float32``, ``float16`` or ``bfloat16``.

    Returns:
        The rates; None if there are none.

    Raises:
        BadCalibration: a calibration of the model cannot be read, or is damaged.
    """
    valid = [one for one in load_calibrations(model) if one.matches(model, device, dtype)]
    return max(valid, key=lambda one: one.measured_at).costs if valid else None


def save_calibration(calibration: Calibration) -> str:
    """Save a calibration, replacing an older one of the same model on the same machine, and return its path.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` if the disk is full.
    """
    path = os.path.join(cache_folder(), _file_name(calibration))
    record = {"schema": SCHEMA, **asdict(calibration)}
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    with atomic_file(path) as file:
        file.write(json.dumps(record, indent=1).encode())
    return path


def load_calibrations(model: str) -> Iterator[Calibration]:
    """Load a model's calibrations by this version of vidzip, on any machine.

    Raises:
        BadCalibration: a file cannot be read, or is damaged.
    """
    folder, pattern = cache_folder(), re.compile(rf"{re.escape(_slug(model))}-[0-9a-f]{{16}}\.json")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in filter(pattern.fullmatch, names):
        calibration = _read(os.path.join(folder, name))
        if calibration is not None:
            yield calibration


def _read(path: str) -> Calibration | None:
    """Read a calibration; None if another version of vidzip wrote it, whose units of work may differ."""
    try:
        with open(path, encoding="utf-8") as file:
            record: dict[str, Any] = json.load(file)
        machine = Machine(**record.pop("machine"))
        if machine.versions["vidzip"] != __version__:
            return None
        costs = record.pop("costs")
        model = CostModel(shape=ModelShape(**costs.pop("shape")), **costs)
        _check(record.pop("schema"), model)
        return Calibration(costs=model, machine=machine, **record)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadCalibration(
            f"the calibration {path!r} is damaged: {error!r}",
            hint="remove it, and run 'vidzip calibrate' again",
        ) from error


def cache_folder() -> str:
    """Return the folder of calibrations."""
    from platformdirs import user_cache_path

    return str(user_cache_path("vidzip") / "calibration")


def device_name(device: str) -> str | None:
    """Return the name of a device of this machine; None if it does not exist.

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
    """Check that a cost model is complete and valid.

    Raises:
        ValueError, TypeError, KeyError: it is not.
    """
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema!r}, not {SCHEMA!r}")
    rates = [rate for stage in (*STAGES, GENERATE) for rate in costs.rates[stage].values()]
    errors = [costs.errors[stage] for stage in (*STAGES, GENERATE)]
    if not all(0 <= number < float("inf") for number in (*rates, *errors, costs.total_error)):
        raise ValueError("a rate or an error is negative or not finite")
    if not 0 <= costs.overlap <= 1:
        raise ValueError("its overlap is not between 0 and 1")


def _file_name(calibration: Calibration) -> str:
    """Name a file by the model, for people, and by a hash of all that the calibration is valid for."""
    key = {"shape": asdict(calibration.costs.shape), "machine": asdict(calibration.machine)}
    digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    return f"{_slug(calibration.model)}-{digest}.json"


def _slug(model: str) -> str:
    """Turn a model's name into a part of a file name; long names keep their end. It need not be unique."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", model)[-_NAME_LENGTH:].strip("-.") or "model"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _processor_name() -> str:
    """Return the processor's name: from ``/proc/cpuinfo`` on Linux, else from Python."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
