"""Movements of money: from what happened to the settlement event that books it. Pure: same input, same event.

forms        what is asked for, one struct a kind, as it stands in a line of JSON
lines        legs and the event around them
reversals    what an earlier event still has to give back, and the lines that take back a part of it
sales        captured and refunded; a dispute opened, won, lost
payouts      fees and payouts of providers; what leaves for sellers, holders of rights, tax authorities, and returns
corrections  currency conversion, manual adjustment, opening balance
booking      any movement to its event: the one function that others call
examples     one of each kind, for the documents, the tests and the command line
"""
