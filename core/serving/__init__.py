"""How a request reaches a server (a running `serve` job) and its answer comes back: by Redis.

    place = place_of(target)              # of a ModelTarget: which server, and which adapter
    client = get_client()                 # the running event loop's; Unavailable without Redis
    # `ensure`: in a thread and a transaction servers.ensure_server(session, project_id, target),
    # which sees to it that a server comes up, or is Unavailable.
    if not await client.is_ready(place.server):
        await ensure()
    request = Request(Chat(messages), max_tokens=…, stream=True)
    async with client.ask(place, request, ensure) as answer:
        async for event in answer:        # Text…, End for each of n answers, then Usage
            ...

`Text(index, text)` comes only where `stream` is true; else `End` bears the whole text. In both
`End.text` is what is still missing: an answer is its `Text`s and its `End.text`, in this order.
What goes wrong is raised by the iteration, before the first event or in the middle of a stream:
`InvalidInput` where the request is at fault (the prompt is too long, the chat template refuses the
roles, the adapter does not fit), `Unavailable` where the platform is: no server took it in time
(`no_server`), the server is gone (`server_lost`), it is told to stop (`server_stopping`), Redis is
away (`unavailable`), too many wait (`overloaded`). Nothing waits for ever: a request that nobody
takes is given up after WAIT_SECONDS, a dead server is noticed within ALIVE_SECONDS and a tick.
Leaving the block ends the request: one that waits is taken back, one that is answered stops with
its next token. A request is answered at most once, by one server.

wire      what travels: requests, events, names of keys. Plain values
client    the API's side: asks, and iterates over events; redis.asyncio, no thread
exchange  the server's side: takes requests, tells events, shows that it lives
places    which server a model's name leads to;  servers  is there one, may one be started: jobs
connection  Redis as the settings name it
"""
