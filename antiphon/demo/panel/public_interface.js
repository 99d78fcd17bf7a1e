// window.antiphonCall: what the rest of the page may do with the call.

const VOLATILE = new Set(['page_language']);

/** Make the interface of a panel; it holds no state of its own. */
export function publicInterface(panel) {
  const { call } = panel;
  return {
    /** Settings of the page: temperature, top_p, max_tokens, seed, voice, speed, language, page_language ... */
    configure(settings) {
      if ('page_language' in settings) panel.setLanguage(settings.page_language);
      const kept = Object.entries(settings).filter(([name]) => !VOLATILE.has(name));
      call.settings.set(Object.fromEntries(kept));
    },
    settings: () => ({ ...call.settings.values }),
    events: {
      entries: () => [...call.log.entries],
      counts: () => ({ ...call.log.counts }),
      subscribe: (subscriber) => call.log.subscribe(subscriber),
      clear: () => call.log.clear(),
    },
    state: () => call.state,
    start: (options) => call.start(options),
    hangUp: () => call.hangUp(),
    stop: () => call.stop(),
    setMuted: (isMuted) => call.setMuted(isMuted),
    sendText: (text) => call.sendText(text),
    lastReply: () => call.replies.lastReply(),
    items: () => [...call.conversation.items.values()].map((item) => ({ ...item })),
    conversationId: () => call.conversation.id,
    /** Read again what was said, because it changed outside of the call. */
    refresh: () => panel.refresh(),
    newConversation: async () => {
      await call.renew();
      return call.conversation.id;
    },
    stats: () => ({
      ...call.player.stats(),
      roundTripMs: call.socket.roundTripMs,
      framesSent: call.framesSent,
      events: { ...call.log.counts },
    }),
  };
}
