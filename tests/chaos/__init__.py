"""A long run of random misfortune, with a seed, and an accounting that asks none of the code it judges.

__main__    the run: load and strikes side by side, then the end   (`make chaos`)
load        shops that sell, refund, repeat, contradict, send rubbish, work in transactions and abort them
strikes     kills, freezes, wrong clocks, sessions that are cut, servers that crash, a database put back to before
clocks      a wall clock of its own for each process (`stepped_clock.c`)
accounting  every offset of the topic and what became of it, by the simplest rules
"""
