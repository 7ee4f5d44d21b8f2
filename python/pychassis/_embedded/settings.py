"""The server's settings: what is written once, and what each start says anew.

Separate because these are numbers with reasons.  postgresql.auto.conf holds only
what never changes in a cluster's life; whatever depends on the machine or on where
things lie is given on the command line, so that a cluster can be moved.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["DATABASE", "USER", "constant_settings", "memory_limit", "start_settings"]

USER = "postgres"
DATABASE = "chassis"

_MB = 1 << 20

# /dev/shm of a container is often 64 MB: less than a parallel build asks for.
_SHM_ENOUGH = 1024 * _MB


def constant_settings() -> dict[str, str]:
    """The content of postgresql.auto.conf."""
    return {
        "listen_addresses": "",
        "unix_socket_directories": ".",
        "unix_socket_permissions": "0700",
        "cluster_name": "chassis",
        # One server, no standby: nothing to send WAL to.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_replication_slots": "0",
        "max_logical_replication_workers": "0",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "max_wal_size": "256MB",
        "min_wal_size": "5MB",
        "checkpoint_timeout": "15min",
        "max_connections": "100",
        "restart_after_crash": "on",
        "jit": "off",
        # Vectors are larger than what the planner's defaults were chosen for, and
        # no disk that a new cluster is made on turns.
        "random_page_cost": "1.1",
        # The log is for faults: no statement's text, which would hold vectors.
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_min_error_statement": "panic",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] ",
        "log_timezone": "UTC",
    }


def auto_conf() -> str:
    lines = ["# Written when the cluster was made; see pychassis._embedded.settings."]
    lines += [f"{name} = '{value}'" for name, value in constant_settings().items()]
    return "\n".join(lines) + "\n"


def _read_number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            text = file.read().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def memory_limit() -> int:
    """Bytes this process may use: the machine's, or its control group's if less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        total = 2048 * _MB
    for path in (
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ):
        limit = _read_number(path)
        if limit:
            total = min(total, limit)
    return total


def _shared_memory_type() -> str:
    """mmap for ordinary users: their POSIX segments go when they log out.

    And where /dev/shm is small, or no place for the user that root runs as.
    """
    try:
        size = os.statvfs("/dev/shm")
        for_all = os.stat("/dev/shm").st_mode & stat.S_IWOTH
    except OSError:
        return "mmap"
    enough = size.f_bavail * size.f_frsize >= _SHM_ENOUGH
    return "posix" if os.geteuid() == 0 and for_all and enough else "mmap"


def start_settings(linger: float, watcher: bool, major: int) -> dict[str, str]:
    """What this machine, this start and this version decide; memory in MB."""
    limit = memory_limit() // _MB
    settings = {
        "unix_socket_directories": ".",
        "listen_addresses": "",
        "shared_buffers": f"{max(16, min(limit // 4, 256))}MB",
        "maintenance_work_mem": f"{max(16, min(limit // 8, 512))}MB",
        "autovacuum_work_mem": f"{max(16, min(limit // 16, 64))}MB",
        "work_mem": f"{max(4, min(limit // 64, 32))}MB",
        "dynamic_shared_memory_type": _shared_memory_type(),
    }
    if major >= 18:
        # Three processes more, for reads that here come from the page cache.
        settings["io_method"] = "sync"
    if watcher:
        settings |= {
            "shared_preload_libraries": "chassis_embedded",
            "chassis.users_lock": "../users.lock",
            "chassis.linger": f"{max(0, round(linger))}",
        }
    return settings


def as_options(settings: dict[str, str]) -> list[str]:
    """As command-line arguments of postgres; no shell ever sees them."""
    options: list[str] = []
    for name, value in settings.items():
        options += ["-c", f"{name}={value}"]
    return options


def linger_seconds() -> float:
    """CHASSIS_LINGER: how long a server stays without users; 0 is not at all."""
    try:
        return max(0.0, float(os.environ.get("CHASSIS_LINGER", "0")))
    except ValueError:
        return 0.0


def effective_directory(directory: Path) -> Path:
    """Where the cluster of ``directory`` is: there, or in CHASSIS_HOME.

    An existing cluster beside the index wins over CHASSIS_HOME, so that setting the
    variable never hides what was stored before.
    """
    home = os.environ.get("CHASSIS_HOME")
    if not home or os.path.lexists(directory / ".chassis"):
        return directory
    return Path(home).expanduser()
