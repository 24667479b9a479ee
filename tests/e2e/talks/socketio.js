// What clients of socket.io say; runs in Node.js and in a page alike. `io` comes from the client's library.

(() => {
  const clients = [];

  function connect(site, transports) {
    const client = io(site, { path: "/web/socket.io/", transports, forceNew: true, reconnection: false });
    client.upgraded = new Promise((resolve) => client.io.engine.once("upgrade", resolve));
    client.ended = new Promise((resolve) => client.on("disconnect", resolve));
    client.words = [];
    client.on("said", (word) => client.words.push(word));
    clients.push(client);
    return client;
  }

  async function opened(client) {
    await new Promise((resolve, reject) => {
      client.on("connect", resolve);
      client.on("connect_error", reject);
    });
  }

  /** What comes back beside acknowledgements, once there are as many values. */
  async function echoed(client, count) {
    const values = [];
    await new Promise((resolve) => {
      client.on("echoed", (value) => {
        if (values.push(value) === count) resolve();
      });
    });
    client.off("echoed");
    return values;
  }

  /** Sends the values at once, and returns what was acknowledged. */
  async function send(client, values) {
    return Promise.all(values.map((value) => client.emitWithAck("echo", value)));
  }

  /** The next word that the server says, or has said. */
  async function hear(client) {
    if (client.words.length === 0) await new Promise((resolve) => client.once("said", resolve));
    return client.words.shift();
  }

  globalThis.socketio = {
    /** Sends half of the numbers before and during the upgrade, if there is one, and the others after it. */
    async talk(site, transports, numbers) {
      const client = connect(site, transports);
      const { engine } = client.io;
      const names = [];
      engine.once("open", () => names.push(engine.transport.name));
      await opened(client);
      const half = numbers.length / 2;
      const coming = echoed(client, numbers.length);
      const early = send(client, numbers.slice(0, half));
      if (transports[0] === "polling" && transports.length > 1) {
        await client.upgraded;
        names.push(engine.transport.name);
      }
      const late = send(client, numbers.slice(half));
      return { names, acknowledged: [...(await early), ...(await late)], echoed: await coming };
    },

    /** Whether texts and bytes of these sizes come back as they were. */
    async exchange(site, transports, sizes) {
      const client = connect(site, transports);
      await opened(client);
      const seen = [];
      for (const size of sizes) {
        const text = "ä€世x".repeat(size / 4);
        const bytes = new Uint8Array(size).map((_, index) => (index * 7919) >> 3);
        const coming = echoed(client, 2);
        for (const [back, data] of [await send(client, [text, bytes]), await coming]) {
          const same = (byte, index) => byte === bytes[index];
          seen.push(back === text && data.byteLength === size && new Uint8Array(data).every(same));
        }
      }
      return seen;
    },

    /** Three in a room, by three ways, and one who is not; what each of them hears. */
    async gather(site) {
      const ways = [["polling"], ["websocket"], ["polling", "websocket"], ["polling"]];
      const guests = ways.map((transports) => connect(site, transports));
      await Promise.all(guests.map(opened));
      await Promise.all(guests.slice(0, 3).map((guest) => guest.emitWithAck("join", "kitchen")));
      guests[0].emit("say", "kitchen", "dinner");
      const inside = await Promise.all(guests.slice(0, 3).map(hear));
      guests[3].emit("say", guests[3].id, "nobody there");
      const alone = await hear(guests[3]);
      // Who leaves amid the upgrade is missed by its server only when a ping is not answered.
      await guests[2].upgraded;
      return [...inside, alone];
    },

    async open(site, transports) {
      await opened(connect(site, transports));
    },

    /** The next word of the server to the client that came last. */
    async hear() {
      return hear(clients.at(-1));
    },

    /** Why the client that came last is disconnected, or will be. */
    async disconnected() {
      return clients.at(-1).ended;
    },

    async leave() {
      for (const client of clients.splice(0)) client.disconnect();
    },
  };
})();
