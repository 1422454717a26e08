"""The flywheel: what a service heard is logged, watched, chosen from, transcribed, measured, and trained on.

    log = RequestLog("exp/log")              # asr.flywheel.log: rows in a database, sounds in a folder
    writer = Writer(log)                     # asr.flywheel.writer: the thread through which a service logs

Nothing is logged unless the operator names a folder (`serve.log`).
"""
