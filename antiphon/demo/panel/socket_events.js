// What each event of the server means for a call.

const HARMLESS = new Set(['response_cancel_not_active', 'item_not_found']);
const TOLD_BY_CLOSE = new Set(['server_full', 'refused']); // no call came about: the close frame says why
const NOTHING_SAID = new Set(['input_audio_buffer_commit_empty', 'nothing_to_answer']);

export class SocketEvents {
  constructor(call) {
    this.call = call;
    this.provisional = null; // item of the person's speech that the server has not confirmed
    this.underrunTimes = [];
    const { socket, player } = call;
    socket.on('open', () => call.sendSettings());
    socket.on('event', (event) => this.take(event));
    socket.on('sound', (sound) => this.onSound(sound));
    socket.on('lost', (loss) => this.onLost(loss));
    socket.on('refused', ({ reason }) => call.fail('refused', { params: { reason } }));
    player.on('started', (start) => this.onFirstSound(start));
    player.on('underrun', () => this.onUnderrun());
  }

  take(event) {
    this.call.log.add('in', event);
    this.call.replies.take(event);
    const handler = this[event.type];
    if (handler) handler.call(this, event);
    this.call.refresh();
  }

  onSound(sound) {
    this.call.replies.takeSound(sound);
    this.call.refresh();
  }

  onLost({ isFull }) {
    const { call } = this;
    call.isReady = false;
    call.isFull = isFull;
    call.queue = null;
    call.serverView = 'listening';
    this.leaveUnfinished();
    call.replies.reset();
    if (call.player.current) call.player.end(call.player.current); // what came may be heard out
    const code = isFull ? 'full' : call.hasStood ? 'lost' : 'unreachable';
    call.emit('problem', { code });
    call.refresh();
  }

  /** What was under way when the server went will not be finished. */
  leaveUnfinished() {
    const { conversation, replies } = this.call;
    if (this.provisional) conversation.remove(this.provisional);
    this.provisional = null;
    if (replies.isActive && conversation.get(replies.itemId)) {
      conversation.put(replies.itemId, { status: 'cut' });
    }
  }

  'session.created'() {
    const { call } = this;
    call.isReady = call.hasStood = true;
    call.isFull = false;
    for (const code of ['lost', 'unreachable', 'full']) call.emit('solved', code);
    call.isReplyWanted = false;
    call.post();
  }

  'antiphon.history'({ conversation_id, items }) {
    const { conversation } = this.call;
    if (items.length > 0) conversation.restore(items, conversation_id);
    else if (conversation.forget() > 0) this.call.emit('problem', { code: 'forgotten' });
  }

  'antiphon.item'({ item }) {
    const { conversation } = this.call;
    conversation.put(item.id, conversation.get(item.id) ? item : { ...item, is_live: false });
  }

  'antiphon.state'({ state }) {
    this.call.serverView = state;
    this.call.queue = null;
  }

  'antiphon.queue'(queue) {
    this.call.queue = queue;
    this.call.emit('queue', queue);
  }

  'antiphon.warning'({ message }) {
    this.call.emit('problem', { code: 'warning', params: { message }, passes: true });
  }

  'input_audio_buffer.speech_started'({ item_id }) {
    const { call } = this;
    call.serverView = 'hearing';
    const isSounding = call.player.isSounding || call.replies.isActive;
    const mayInterrupt = call.settings.get('interrupt') && !call.settings.get('half_duplex');
    if (isSounding && mayInterrupt) call.cut();
    this.provisional = item_id;
    call.conversation.put(item_id, { role: 'user', kind: 'speech', status: 'in_progress' });
  }

  'input_audio_buffer.speech_stopped'() {
    this.call.serverView = 'thinking';
  }

  'input_audio_buffer.committed'({ item_id }) {
    this.provisional = null;
    this.call.conversation.put(item_id, { role: 'user', status: 'completed', has_clip: true });
  }

  'input_audio_buffer.cleared'() {
    if (this.provisional) this.call.conversation.remove(this.provisional);
    this.provisional = null;
    this.call.serverView = 'listening';
  }

  'conversation.item.added'({ item }) {
    this.call.conversation.putWire(item);
  }

  'conversation.item.done'({ item }) {
    if (item.role === 'user') this.call.conversation.putWire(item);
  }

  'conversation.item.deleted'({ item_id }) {
    this.call.conversation.remove(item_id);
  }

  'conversation.item.input_audio_transcription.delta'({ item_id, delta }) {
    this.call.conversation.addText(item_id, delta);
  }

  'conversation.item.input_audio_transcription.completed'({ item_id, transcript }) {
    this.call.conversation.put(item_id, { role: 'user', text: transcript });
  }

  'response.created'() {
    this.call.queue = null;
  }

  'response.done'({ response }) {
    const { call } = this;
    call.serverView = call.serverView === 'hearing' ? 'hearing' : 'listening';
    if (response.status === 'failed') {
      const { error = {} } = response.status_details || {};
      const params = { message: error.message || '' };
      call.emit('problem', { code: 'reply_failed', params, passes: true });
    }
    if (response.antiphon) call.emit('figures', response.antiphon);
    call.askIfWanted();
  }

  error({ error }) {
    const { call } = this;
    if (HARMLESS.has(error.code) || TOLD_BY_CLOSE.has(error.code)) return;
    if (NOTHING_SAID.has(error.code)) {
      call.serverView = 'listening';
      call.emit('problem', { code: 'too_short', passes: true });
      return;
    }
    const params = { message: error.message };
    call.emit('problem', { code: 'server_error', params, passes: true });
  }

  /** Put together where the time to the first sound went. */
  onFirstSound({ itemId, waitedMs }) {
    const { call } = this;
    const { lastTimings } = call.replies;
    const timings = lastTimings && lastTimings.item_id === itemId ? lastTimings : {};
    call.emit('first_sound', {
      timings,
      network_ms: call.socket.roundTripMs,
      buffer_ms: waitedMs,
    });
  }

  onUnderrun() {
    const now = performance.now();
    this.underrunTimes = this.underrunTimes.filter((time) => now - time < 30000).concat(now);
    this.call.emit('underrun', this.call.player.counts.underruns);
    if (this.underrunTimes.length >= 3) this.call.emit('problem', { code: 'slow', passes: true });
  }
}
