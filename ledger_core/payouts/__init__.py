"""Money that leaves for sellers, asked for and approved by operators: states, what stands between. Pure.

states    the one state that a request is in, from what is on record; what of a balance is still available
"""
