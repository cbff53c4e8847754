"""How quickly shards find their owner, with either group protocol: the first, a second member, back after it left.

python -m tests.bench groups
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from collections.abc import Callable, Sequence

from consumers.kafka.group_source import KafkaSource
from tests.bench.load import fresh_ledger

ROUNDS = 3


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench groups", description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    figures = []
    with fresh_ledger() as ledger:
        topic = f"{ledger.prefix}finance.settlements"
        for protocol in ("consumer", "classic"):
            rounds = [one_round(ledger.stack.env["KAFKA_BROKERS"], topic, protocol) for _ in range(ROUNDS)]
            for name in rounds[0]:
                seconds = sorted(each[name] for each in rounds)
                figures.append({"protocol": protocol, "what": name, "seconds_median": seconds[ROUNDS // 2]})
    if options.json:
        print(json.dumps(figures))
    else:
        for figure in figures:
            print(f"{figure['protocol']:10} {figure['what']:28} {figure['seconds_median']:8.2f} s")
    return 0


def one_round(brokers: str, topic: str, protocol: str) -> dict[str, float]:
    group = uuid.uuid4().hex
    members: list[KafkaSource] = []

    def join() -> KafkaSource:
        source = KafkaSource(brokers, topic, group, lambda _: 0, lambda _: None, {"group.protocol": protocol})
        members.append(source)
        return source

    def wait(done: Callable[[], bool]) -> float:
        began = time.monotonic()
        while not done():
            for member in members:
                member.poll(100, 0.02)
        return time.monotonic() - began

    one = join()
    first = wait(lambda: len(one.owned) == 2)
    two = join()
    share = wait(lambda: len(one.owned) == len(two.owned) == 1)
    members.remove(two)
    two.close()
    back = wait(lambda: len(one.owned) == 2)
    one.close()
    return {"first assignment": first, "a second member's share": share, "back after it left": back}
