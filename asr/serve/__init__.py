"""The service: recognition over HTTP and WebSockets, on FastAPI and uvicorn.

    app = make_app(cfg)  # asr.serve.app
    serve(cfg)           # asr.serve.process: the app in a uvicorn process, as `asr serve` runs it

All requests share the models and graphs of the modes. What a request changes belongs to it alone, and what is kept for
the next one is kept by key.
"""
