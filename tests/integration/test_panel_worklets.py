"""The player's worklet, run by hand in a browser: any order of chunks gives the same sound."""

import pytest

from antiphon.demo.voice_panel import panel_static_folder
from tests.page_driver import find_chromium
from tests.panel_driver import open_strict_browser

# The worklet's code inside a scope that stands in for AudioWorkletGlobalScope; time stands still
# but for `render`. A seeded generator draws sizes and moments, so that a failure can be repeated.
TOOLS = """
([code, trials]) => {
  const RATE = 24000, QUANTUM = 128, FADE = 192;
  const load = (source) => {
    const scope = { sampleRate: RATE, currentFrame: 0, made: null,
      AudioWorkletProcessor: class { constructor() {
        this.port = { sent: [], postMessage(message, transfer) {
          this.sent.push({ ...message, transfer }); } }; } },
      registerProcessor(name, made) { scope.made = made; } };
    new Function('scope', `with (scope) { ${source} }`)(scope);
    return scope;
  };
  const random = (seed) => () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const tone = (length) => Int16Array.from({ length }, (_, n) =>
    Math.round(9830 * Math.sin((2 * Math.PI * 440 * n) / RATE)));
"""
BENCH = (
    TOOLS
    + """
  const trial = (seed) => {
    const draw = random(seed), scope = load(code), player = new scope.made();
    const given = [];
    const send = (data) => {
      if (data.samples) given.push(data.samples.buffer);
      player.port.onmessage({ data });
    };
    const output = [];
    const render = (quanta) => { for (; quanta > 0; quanta -= 1) {
      const block = new Float32Array(QUANTUM);
      player.process([], [[block]]);
      output.push(...block);
      scope.currentFrame += QUANTUM;
    } };
    const whole = tone(1 + Math.floor(draw() * 20000));
    const mayStarve = draw() < 0.5, flushAt = draw() < 0.3 ? draw() * whole.length : Infinity;
    let at = 0, wasFlushed = false;
    while (at < whole.length && !wasFlushed) {
      const size = 1 + Math.floor(draw() * 4000);
      send({ type: 'audio', key: 'a', samples: whole.slice(at, at + size) });
      at += size;
      render(Math.floor(draw() * (mayStarve ? 60 : size / QUANTUM)));
      if (at > flushAt) { send({ type: 'flush' }); wasFlushed = true; }
    }
    if (!wasFlushed) send({ type: 'end', key: 'a' });
    const before = output.length;
    render(wasFlushed ? 4 : 400);
    const tail = output.slice(before + FADE);
    const steps = output.map((sample, n) => Math.abs(sample - (output[n - 1] ?? 0)));
    const done = player.port.sent.filter(({ type }) => type === 'done');
    const underruns = player.port.sent.filter(({ type }) => type === 'underrun').length;
    const start = player.port.sent.find(({ type }) => type === 'started');
    let worst = 0;
    if (!wasFlushed && underruns === 0) {
      for (let n = 0; n < whole.length; n += 1) {
        const gain = Math.min(1, (n + 1) / FADE, (whole.length - 1 - n) / FADE);
        worst = Math.max(worst, Math.abs(output[start.frame + n] - (whole[n] / 32768) * gain));
      }
    }
    send({ type: 'flush' });  // nothing sounds: must not harm what comes next
    const second = output.length;
    send({ type: 'audio', key: 'b', samples: tone(4000) });
    send({ type: 'end', key: 'b' });
    render(60);
    const spent = player.port.sent.flatMap((each) => each.type === 'spent' ? each.transfer : []);
    const [, next] = player.port.sent.filter(({ type }) => type === 'done');
    return { seed, allCameBack: given.every((buffer) => spent.includes(buffer)),
      cameTwice: new Set(spent).size !== spent.length,
      wasFlushed, underruns, worst, mayStarve, length: whole.length,
      step: Math.max(...steps), tailIsSilent: tail.every((sample) => sample === 0),
      played: done.map(({ played }) => played), flags: done.map((each) => each.wasFlushed),
      nextPlayed: next ? next.played : null, nextSounds: output.slice(second).some(Boolean) };
  };
  return Array.from({ length: trials }, (_, seed) => trial(seed));
}
"""
)
# A tone at another pace, whole and in chunks that come while it plays.
PACES = (
    TOOLS
    + """
  const play = (whole, speed, size) => {
    const scope = load(code), player = new scope.made(), output = [];
    const send = (data) => player.port.onmessage({ data });
    const render = (quanta) => { for (; quanta > 0; quanta -= 1) {
      const block = new Float32Array(QUANTUM);
      player.process([], [[block]]);
      output.push(...block);
      scope.currentFrame += QUANTUM;
    } };
    send({ type: 'pace', speed });
    for (let at = 0; at < whole.length; at += size) {
      send({ type: 'audio', key: 'a', samples: whole.slice(at, at + size) });
      if (at + size < whole.length) render(Math.floor((size - 1000) / speed / QUANTUM));
    }
    send({ type: 'end', key: 'a' });
    render(Math.ceil(whole.length / speed / QUANTUM) + 40);
    const [{ played, underruns }] = player.port.sent.filter(({ type }) => type === 'done');
    const sounds = output.map((sample) => sample !== 0);
    const sound = output.slice(sounds.indexOf(true), sounds.lastIndexOf(true));
    return { played, underruns, sound };
  };
  return Array.from({ length: trials }, (_, seed) => {
    const draw = random(seed), speed = 0.7 + 0.8 * draw();
    const whole = tone(6000 + Math.floor(draw() * 20000)), size = 4000 + Math.floor(draw() * 4000);
    const once = play(whole, speed, whole.length), pieces = play(whole, speed, size);
    const { sound } = once, middle = sound.slice(FADE, -FADE);
    let rises = 0, step = 0, apart = Math.abs(sound.length - pieces.sound.length);
    middle.forEach((value, n) => { rises += n > 0 && middle[n - 1] < 0 && value >= 0; });
    sound.forEach((value, n) => {
      step = Math.max(step, Math.abs(value - (sound[n - 1] ?? 0)));
      apart = Math.max(apart, Math.abs(value - (pieces.sound[n] ?? 0)));
    });
    return { speed, step, apart, pitch: (rises * RATE) / middle.length, length: whole.length,
      lasts: sound.length * speed, played: [once.played, pieces.played],
      underruns: once.underruns + pieces.underruns };
  });
}
"""
)
LARGEST_STEP = 9831 / 32768 * (2 * 3.14159266 * 440 / 24_000 + 1 / 192)  # of the tone, and a fade


def run_by_hand(bench: str, trials: int) -> list[dict]:
    find_chromium()
    code = (panel_static_folder() / "player_worklet.js").read_text("utf-8")
    with open_strict_browser() as browser:
        found: list[dict] = browser.new_page().evaluate(bench, [code, trials])
        return found


@pytest.fixture(scope="module")
def trials() -> list[dict]:
    return run_by_hand(BENCH, 300)


@pytest.fixture(scope="module")
def paces() -> list[dict]:
    return run_by_hand(PACES, 60)


def test_another_pace_keeps_the_pitch(paces):
    for trial in paces:
        assert trial["lasts"] == pytest.approx(trial["length"], abs=300), trial
        assert trial["pitch"] == pytest.approx(440, rel=0.02), trial
        assert trial["played"] == [trial["length"]] * 2
        assert trial["step"] <= LARGEST_STEP, trial


def test_another_pace_does_not_depend_on_the_chunks(paces):
    assert max(trial["apart"] for trial in paces) < 1e-6
    assert not any(trial["underruns"] for trial in paces)


def test_any_chunks_give_the_whole_sound(trials):
    calm = [trial for trial in trials if not trial["wasFlushed"] and not trial["underruns"]]
    assert len(calm) > 50
    assert max(trial["worst"] for trial in calm) < 1e-6
    whole = [trial for trial in trials if not trial["wasFlushed"]]
    assert all(trial["played"] == [trial["length"]] for trial in whole)


def test_every_chunk_comes_back_once(trials):
    assert all(trial["allCameBack"] and not trial["cameTwice"] for trial in trials)


def test_running_dry_is_counted_and_does_not_click(trials):
    assert sum(trial["underruns"] for trial in trials) > 20
    assert max(trial["step"] for trial in trials) <= LARGEST_STEP


def test_a_flush_is_silent_after_the_fade(trials):
    flushed = [trial for trial in trials if trial["wasFlushed"]]
    assert len(flushed) > 30
    assert all(trial["tailIsSilent"] for trial in flushed)
    assert all(trial["flags"] == [True] for trial in flushed)
    assert all(trial["played"][0] <= trial["length"] for trial in flushed)


def test_a_flush_of_nothing_does_not_harm_the_next_reply(trials):
    assert {trial["nextPlayed"] for trial in trials} == {4000}
    assert all(trial["nextSounds"] for trial in trials)
