"""The archiver.

archiver         proved range -> locked object
manifest_lister  locked object -> signed manifest; tile_writer: the trees' tiles, before it
lock_terms       until when, and what a wrong clock makes of it
leftover         beside both: what a crash or an older database left; stored_batch: how it is recognised
"""
