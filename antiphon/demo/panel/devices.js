// The lists of microphones and speakers, filled when the browser tells their names.

export class Devices {
  constructor(root, language, settings) {
    this.language = language;
    this.settings = settings;
    this.lists = {
      audioinput: { select: root.getElementById('microphone'), name: 'microphone' },
      audiooutput: { select: root.getElementById('speaker'), name: 'speaker' },
    };
    for (const { select, name } of Object.values(this.lists)) {
      select.addEventListener('change', () => settings.set({ [name]: select.value }));
    }
    if (navigator.mediaDevices) {
      navigator.mediaDevices.addEventListener('devicechange', () => this.refresh());
    }
  }

  async refresh() {
    const found = navigator.mediaDevices ? await navigator.mediaDevices.enumerateDevices() : [];
    this.fill('audioinput', found);
    this.fill('audiooutput', canChooseSpeaker() ? found : []);
  }

  fill(kind, found) {
    const { select, name } = this.lists[kind];
    const devices = found.filter((each) => each.kind === kind && each.deviceId && each.deviceId !== 'default');
    const say = (key, params) => this.language.say(key, params);
    const first = new Option(say(devices.length ? 'default_device' : 'no_choice'), '');
    const rest = devices.map((each, n) => new Option(each.label || say('device', { n: n + 1 }), each.deviceId));
    select.replaceChildren(first, ...rest);
    select.disabled = devices.length === 0;
    const chosen = this.settings.get(name);
    select.value = devices.some((each) => each.deviceId === chosen) ? chosen : '';
  }
}

function canChooseSpeaker() {
  return 'setSinkId' in AudioContext.prototype;
}
