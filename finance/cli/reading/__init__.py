"""What stands in the ledger (balances, entry), and what the read side answers.

settlement     `settlement show`, `order show`      account  `account statement`
payables       `payables ageing`                    report   `report revenue|fees`
balances_then  `balances --as-of`                   shown    rows as table, CSV, JSON or Parquet, and how far they reach
projection     the read side itself: how far it is, built anew, compared
"""
