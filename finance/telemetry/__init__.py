"""What a process says about itself.

metric_list    every metric, as data
prometheus     the list in a registry; surfaces: who moves which metric
health         whether the process gets on (HTTP)
log_lines      structured log lines
"""
