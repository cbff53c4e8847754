"""The keeper: personal data from the side topic into the one table that holds them.

keeper   one batch, one transaction; what waits is compared with its entry
sorting  what becomes of a record, and of a row that waits
"""
