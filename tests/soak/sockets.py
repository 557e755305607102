"""WebSockets that are opened at the beginning, speak all the time, and must all be live at the end."""

import asyncio
import threading

import websockets


class Sockets:
    """An echoing server and `count` clients of it through weir, in a thread with a loop of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.lost, self.echoes, self.live = [], 0, 0
        self.thread.start()
        self.port = self._await(self._serve())

    def open(self, port, count, ssl=None, server_name=None):
        self._await(self._open(port, count, ssl, server_name))

    def close(self):
        """Says whether each is still live, closes them, and returns the number that was."""
        return self._await(self._close())

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.clients, self.tasks = [], []
        self.loop.run_forever()

    def _await(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    async def _serve(self):
        async def echo(socket, *_):
            try:
                async for message in socket:
                    await socket.send(message)
            except websockets.ConnectionClosed:
                pass
        server = await websockets.serve(echo, "127.0.0.1", 0, ping_interval=None)
        return server.sockets[0].getsockname()[1]

    async def _open(self, port, count, ssl, server_name):
        scheme, options = ("wss", {"ssl": ssl, "server_hostname": server_name}) if ssl else ("ws", {})
        for n in range(count):
            client = await websockets.connect(f"{scheme}://127.0.0.1:{port}/socket", ping_interval=None, **options)
            self.clients.append(client)
            self.tasks.append(asyncio.create_task(self._speak(client, f"{scheme}-{n}")))

    async def _speak(self, client, name):
        n = 0
        try:
            while True:
                n += 1
                await client.send(f"{name}-{n}")
                assert await asyncio.wait_for(client.recv(), 20) == f"{name}-{n}"
                self.echoes += 1
                await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.lost.append(f"{name} after {n}: {error!r}")

    async def _close(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        live = 0
        for client in self.clients:
            try:
                await asyncio.wait_for(await client.ping(), 10)
                live += 1
            except Exception as error:
                self.lost.append(f"at the end: {error!r}")
            await client.close()
        return live
