"use strict";
// One play-head for all arms of a prompt: every sound runs at once and one of them is heard, so switching has no seam.
const FADE_S = 0.008;
let audio = null, running = null;

async function decode(player) {
  audio ??= new AudioContext();
  if (!player.decoded) {
    const bytes = Uint8Array.from(atob(player.src.split(",")[1]), (letter) => letter.charCodeAt(0));
    player.decoded = audio.decodeAudioData(bytes.buffer);
  }
  return player.decoded;
}

class Sounds {
  constructor(players, changed) {
    this.players = players;
    this.changed = changed;
    this.current = 0;
    this.offset = 0;
    this.lanes = [];
  }
  get playing() { return this.lanes.length > 0; }
  get length() { return Math.max(0, ...(this.buffers ?? []).map((buffer) => buffer.duration)); }
  get position() { return this.playing ? Math.max(0, audio.currentTime - this.started) : this.offset; }
  async play() {
    this.buffers ??= await Promise.all(this.players.map(decode));
    await audio.resume();
    if (running && running !== this) running.pause();
    for (const player of document.querySelectorAll("audio")) player.pause();
    running = this;
    if (this.offset >= this.length - 0.02) this.offset = 0;
    this.silence();
    const start = audio.currentTime + 0.02;
    this.started = start - this.offset;
    this.lanes = this.buffers.map((buffer, index) => {
      const source = audio.createBufferSource(), gain = audio.createGain();
      source.buffer = buffer;
      gain.gain.value = index === this.current ? 1 : 0;
      source.connect(gain).connect(audio.destination);
      if (this.offset < buffer.duration) source.start(start, this.offset);
      return { source, gain };
    });
    this.tick();
  }
  tick() {
    if (this.playing && this.position >= this.length) this.pause();
    this.changed();
    if (this.playing) requestAnimationFrame(() => this.tick());
  }
  silence() {
    for (const lane of this.lanes) {
      try { lane.source.stop(); } catch { /* one that was shorter than the play-head never began */ }
      lane.gain.disconnect();
    }
    this.lanes = [];
  }
  pause() {
    this.offset = Math.min(this.position, this.length);
    this.silence();
    this.changed();
  }
  toggle() { return this.playing ? this.pause() : this.play(); }
  choose(index) {
    this.lanes.forEach((lane, place) => lane.gain.gain.setTargetAtTime(place === index ? 1 : 0, audio.currentTime, FADE_S));
    this.current = index;
    this.changed();
  }
  seek(seconds) {
    const playing = this.playing;
    if (playing) this.silence();
    this.offset = seconds;
    if (playing) this.play(); else this.changed();
  }
}

function button(text, action, title = "") {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  if (title) made.title = title;
  made.addEventListener("click", action);
  return made;
}

function fillDeck(place, sounds, names, keys) {
  const play = button("Play", () => sounds.toggle());
  const head = document.createElement("input");
  Object.assign(head, { type: "range", min: 0, max: 1000, value: 0 });
  head.setAttribute("aria-label", "position");
  head.addEventListener("input", () => sounds.seek(sounds.length * head.value / 1000));
  const lanes = names.map((name, index) => {
    const made = button([keys[index], name].filter(Boolean).join("  "), () => sounds.choose(index));
    made.className = "lane";
    return made;
  });
  sounds.changed = () => {
    play.textContent = sounds.playing ? "Pause" : "Play";
    head.value = sounds.length ? 1000 * sounds.position / sounds.length : 0;
    lanes.forEach((lane, index) => lane.setAttribute("aria-pressed", index === sounds.current));
  };
  place.replaceChildren(play, head, ...lanes);
  place.hidden = false;
  sounds.changed();
  place.closest("article").onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    const index = keys.findIndex((key) => key && key.toLowerCase() === event.key.toLowerCase());
    if (index >= 0) sounds.choose(index);
    else if (event.key.toLowerCase() === "p") sounds.toggle();
    else return;
    event.preventDefault();
  };
}

const cards = [...document.querySelectorAll("article.prompt")].map((card) => {
  const takes = [...card.querySelectorAll(".take[data-arm]")].filter((take) => take.querySelector("audio"));
  const players = new Map(takes.map((take) => [take.dataset.arm, take.querySelector("audio")]));
  if (players.size > 1) {
    const names = [...players.keys()];
    const sounds = new Sounds([...players.values()], () => {});
    fillDeck(card.querySelector(".deck"), sounds, names, names.map((_, index) => (index < 9 ? String(index + 1) : "")));
  }
  return { card, players };
});
for (const player of document.querySelectorAll("audio")) {
  player.addEventListener("play", () => {
    running?.pause();
    for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
  });
}

// The chance of at least `right` of `trials` by guessing.
function guessing(right, trials) {
  let term = 1, total = 0;
  for (let count = 0; count <= trials; count += 1) {
    if (count >= right) total += term;
    term = term * (trials - count) / (count + 1);
  }
  return total / 2 ** trials;
}

const coin = () => crypto.getRandomValues(new Uint8Array(1))[0] & 1;
const abx = document.getElementById("abx");
if (abx) {
  const form = abx.querySelector("form"), deck = abx.querySelector(".deck"), status = abx.querySelector(".status");
  abx.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    running?.pause();
    const chosen = [form.first.value, form.second.value], trials = Number(form.trials.value);
    const both = cards.filter(({ players }) => chosen.every((arm) => players.has(arm)));
    deck.hidden = true;
    if (chosen[0] === chosen[1]) { status.textContent = "Choose two different arms."; return; }
    if (!both.length) { status.textContent = "No prompt has both arms."; return; }
    if (coin()) chosen.reverse();
    let done = 0, right = 0;
    const trial = () => {
      const { players } = both[crypto.getRandomValues(new Uint32Array(1))[0] % both.length];
      const secret = coin();
      const sounds = new Sounds([players.get(chosen[0]), players.get(chosen[1]), players.get(chosen[secret])], () => {});
      fillDeck(deck, sounds, ["", "", ""], ["A", "B", "X"]);
      const answer = (said) => () => {
        sounds.pause();
        done += 1;
        right += said === secret ? 1 : 0;
        if (done < trials) { trial(); return; }
        deck.hidden = true;
        const p = guessing(right, trials);
        status.textContent = `${right} of ${trials} right, p = ${p < 0.001 ? "< 0.001" : p.toFixed(3)}. ` +
          `A was ${chosen[0]}, B was ${chosen[1]}.`;
      };
      const first = button("X is A", answer(0));
      deck.append(first, button("X is B", answer(1)));
      status.textContent = `Trial ${done + 1} of ${trials}. Keys: A, B, X switch, P plays and pauses.`;
      deck.querySelector("button").focus();
    };
    trial();
  });
}
