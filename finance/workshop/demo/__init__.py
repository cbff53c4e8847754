"""`finance demo`: the main job on real data and real servers, then every way to cheat, then a stranger's check.

story                      the demo from beginning to end
ledger, route              a fresh stack; the processes at work
expectation, summary       what the sales data say; what the ledger says
answers                    a settlement's whole story and a statement, from the read side
cheat, cheats_*            each attempt, and who catches it
leave, check_script        what a stranger is given, and CHECK.sh
bundle                     the month as one file for an auditor, and its forgery
model, words               what the demo reports, as values and on the terminal
"""
