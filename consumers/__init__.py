"""Where work comes in: the services around the core. They know ports, never concrete adapters.

service   the loop that runs each of them      metrics  what they count
kafka     reading topics
posting   poster, relay                        proving  prover          personal  keeper
archive   archiver                             audit    notary, export, restore
reading   projector
signing   keys of a process, circuit           recovery replay, rebuild
"""
