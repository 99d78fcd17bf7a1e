// One call per browser and a screen that stays on: a web lock and a wake lock.

import { Emitter } from './emitter.js';

const LOCK = 'antiphon-call';

export class Presence extends Emitter {
  constructor() {
    super();
    this.release = null;
    this.screen = null;
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && this.release) this.keepScreenOn();
    });
  }

  /** Whether another tab of this browser is in a call. */
  async isTaken() {
    if (!navigator.locks || this.release) return false;
    const { held } = await navigator.locks.query();
    return held.some((lock) => lock.name === LOCK);
  }

  /** Take the call to this tab; `force` ends the one of another tab. Gives false where it is taken. */
  async claim(force = false) {
    if (!navigator.locks || this.release) return true;
    const options = force ? { steal: true } : { ifAvailable: true };
    const isMine = await new Promise((decide) => {
      const hold = (lock) => {
        decide(lock !== null);
        return lock ? new Promise((release) => { this.release = release; }) : null;
      };
      navigator.locks.request(LOCK, options, hold).catch(() => this.onStolen());
    });
    if (isMine) await this.keepScreenOn();
    return isMine;
  }

  onStolen() {
    this.release = null;
    this.letScreenSleep();
    this.emit('stolen');
  }

  end() {
    if (this.release) this.release();
    this.release = null;
    this.letScreenSleep();
  }

  async keepScreenOn() {
    try {
      this.screen = await navigator.wakeLock.request('screen');
    } catch {
      this.screen = null; // not there, or refused to save the battery: the call goes on without
    }
  }

  letScreenSleep() {
    if (this.screen) this.screen.release().catch(() => {});
    this.screen = null;
  }
}
