"""What is told of a Redis: how much a partition takes, how it is set up, and what to change."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """What a partition takes: customers with a state, keys, and the sum of MEMORY USAGE of all keys (bytes)."""

    customers: int
    keys: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Checkup:
    """How a Redis is set up: version, what it does when full, whether AOF is on, bytes used and allowed (0: any)."""

    version: str
    maxmemory_policy: str
    aof_enabled: bool
    used_bytes: int
    max_bytes: int
    address: str = ""

    @property
    def evicts(self) -> bool:
        """Whether keys of ours are deleted when memory is full; `volatile-` policies spare what does not expire."""
        return self.maxmemory_policy.startswith("allkeys-")

    @property
    def problems(self) -> list[str]:
        """What to change, in words; empty when all is well."""
        found = []
        if tuple(int(part) for part in self.version.split(".")[:2]) < (6, 2):
            found.append(f"Redis {self.version} is untested: upgrade to 6.2 or later")
        if not self.aof_enabled:
            found.append("AOF is off, so a restart loses states and rebuilds them from Kafka: set appendonly yes")
        return found + self.problems_of_memory

    @property
    def problems_of_memory(self) -> list[str]:
        """What to change lest states vanish or writes fail."""
        found = []
        if self.maxmemory_policy != "noeviction":
            found.append(f"maxmemory-policy is {self.maxmemory_policy}, so states may vanish: set it to noeviction")
        if self.max_bytes and self.used_bytes > 0.9 * self.max_bytes:
            found.append(
                f"{self.used_bytes:,} of {self.max_bytes:,} bytes are used: raise maxmemory before writes fail"
            )
        return found
