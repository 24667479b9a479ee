// What clients of Phoenix' channels say by long polling; runs in Node.js and in a page alike. `Phoenix` is the client's
// library.

(() => {
  const sockets = [];
  let channel;
  let words = [];

  async function replied(push) {
    return new Promise((resolve, reject) => {
      push.receive("ok", resolve);
      push.receive("error", reject);
      push.receive("timeout", () => reject(new Error("no reply")));
    });
  }

  globalThis.phoenix = {
    /** Joins a room, by a socket of its own. */
    async join(site) {
      const soon = () => 10;
      const options = { transport: Phoenix.LongPoll, reconnectAfterMs: soon, rejoinAfterMs: soon };
      const socket = new Phoenix.Socket(`${site}/web/socket`, options);
      sockets.push(socket);
      socket.connect();
      channel = socket.channel("room:1", {});
      words = [];
      channel.on("news", ({ word }) => words.push(word));
      await replied(channel.join());
    },

    /** What comes back for each of the values, sent one after the other, or all at once. */
    async echo(values, atOnce) {
      const back = async (value) => (await replied(channel.push("echo", { value }))).value;
      if (atOnce) return Promise.all(values.map(back));
      const all = [];
      for (const value of values) all.push(await back(value));
      return all;
    },

    /** The next of the server's news. */
    async hear() {
      while (words.length === 0) {
        const reference = await new Promise((resolve) => {
          const reference = channel.on("news", () => resolve(reference));
        });
        channel.off("news", reference);
      }
      return words.shift();
    },

    async leave() {
      for (const socket of sockets.splice(0)) socket.disconnect();
    },
  };
})();
