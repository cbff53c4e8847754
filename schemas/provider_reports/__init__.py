"""What payment providers and banks report, read exactly: rows of money that moved, and what is wrong with the others.

model      a row, a fault with line and column, and what ends a reading
amounts    decimal texts of a file to minor units: one decimal mark a file, declared or found out
moments    local times and zones to UTC
csv_rows   CSV and its like as records by column name; xml_events: XML as a stream; both in bounded memory
stripe, adyen, paypal, camt053, mapped   one format each      formats   all of them by name
"""
