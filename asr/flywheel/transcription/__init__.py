"""Transcription by people: recordings of a manifest, heard and corrected in the browser.

    items = read("exp/next.jsonl")                    # asr.flywheel.transcription.items
    journal = Journal("exp/next.transcripts.jsonl")   # asr.flywheel.transcription.journal: nothing typed is lost
    app = make_app(Desk(items, journal, ...))         # asr.flywheel.transcription.app: the page and its calls
    found = agreement(items, journal)                 # asr.flywheel.transcription.agreement

What is typed goes to the journal at once. A manifest with the transcripts is made of it afterwards.
"""
