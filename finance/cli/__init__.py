"""`finance`: main knows every command by name; a folder for each kind of work.

common: what they share; findings: how a check ends; addresses: options that are addresses;
terminal: words of others, made harmless

operating  run, status, halt, resume, shards, migrate, topics, doctor, guard, render
posting    publish, movement, dlq reading  balances, entry     proving  prove, verify, receipt
audit      audit                  archive  archive                signing  signers, rotate, signing-proxy
personal   personal               payouts  payout, hold, approvers
recovery   rebuild, replay, backup, restore, drill
"""
