// The page: what is pressed, what runs, and what is shown of it.
import { FORMATS } from "./formats.js";
import { Sound, Text } from "./history.js";
import { Picture, colourOf, shown } from "./picture.js";
import { MICROPHONE_MISSING, Microphone, Player, SourceError, decoded, samplesOf, sendAll } from "./sources.js";
import { ServerError, Stream, ask, transcribe } from "./stream.js";

const LINES = 200, REPLAYED = 60, PATIENCE = 15000; // lines shown, seconds replayed, ms of silence of the server
const part = id => document.getElementById(id);
const sound = new Sound(), text = new Text();
const picture = new Picture(part("chart"), part("space"), part("canvas"), part("head"), sound, text);
const player = new Player(() => requestAnimationFrame(follow));
const still = matchMedia("(prefers-reduced-motion: reduce)");

let key = "", examples = [], context = null;
let run = null; // { kind, stop, isStopped }: what is being recognised
let last = null; // kind of what was recognised last
let again = null; // what the button Reconnect does

function tell(message, problem = "", retry = null, name = "Try again") { // problem: its kind
  part("message").textContent = message;
  part("message").dataset.problem = problem;
  again = retry;
  part("retry").hidden = !retry;
  part("retry").textContent = name;
}

function wake() { // needs a click before it; the rate is that of the device
  context = context || new (window.AudioContext || window.webkitAudioContext)();
  context.resume();
  return context;
}

// --- what is shown ---

let isDue = false;

function show() {
  if (isDue) return;
  isDue = true;
  const due = () => { isDue = false; picture.draw(); };
  if (still.matches) setTimeout(due, 500);
  else requestAnimationFrame(due);
}

function showText() {
  const current = text.current || text.utterances.at(-1);
  part("hint").hidden = Boolean(run || current);
  part("committed").textContent = current ? current.text : "";
  part("caption").lang = current ? current.language : "en";
  part("partial").textContent = current ? current.partial : "";
  const [kept, frames] = text.counts;
  part("used").textContent = frames ? `${kept} of ${frames}` : "";
  part("used-text").textContent = frames
    ? `frames went through the upper layers; ${Math.round(100 * (1 - kept / frames))} % were skipped.`
    : "Only frames on which a token is heard will go through the encoder’s upper layers.";
  part("share").style.transform = `scaleX(${frames ? kept / frames : 0})`;
  for (const button of document.querySelectorAll(".tools button")) button.disabled = !text.all.length;
  part("clear").disabled = Boolean(run) || !text.all.length;
  showTokens();
  show();
}

function showTokens() { // of the last two utterances; buttons that stay keep the focus
  const wanted = text.all.slice(-2).flatMap(one => one.tokens.map((token, number) => ({ token, number })));
  const box = part("tokens"), focused = [...box.children].indexOf(document.activeElement);
  const name = ({ token, number }) => `${number} ${token.text} ${token.start} ${token.end}`;
  wanted.forEach((one, k) => {
    const old = box.children[k];
    if (old && old.dataset.name === name(one)) return;
    const button = tokenButton(one);
    button.dataset.name = name(one);
    if (old) old.replaceWith(button);
    else box.append(button);
  });
  while (box.children.length > wanted.length) box.lastChild.remove();
  if (focused >= 0 && wanted.length) box.children[Math.min(focused, wanted.length - 1)].focus({ preventScroll: true });
}

function tokenButton({ token, number }) {
  const button = document.createElement("button");
  const sure = token.confidence == null ? "" : `, confidence ${Math.round(100 * token.confidence)} %`;
  Object.assign(button, { type: "button", className: "token", textContent: shown(token), title: `${token.start.toFixed(2)} s${sure}` });
  Object.assign(button.dataset, { start: token.start, end: token.end });
  button.style.setProperty("--colour", `var(--c${colourOf(number)})`);
  button.style.setProperty("--sure", token.confidence ?? 1);
  button.addEventListener("click", () => replay(token.start - .06, token.end + .06));
  return button;
}

function addLine(utterance) {
  const line = document.createElement("li"), time = document.createElement("button"), words = document.createElement("span");
  const seconds = Math.floor(utterance.start);
  time.type = "button";
  time.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  time.title = "Replay";
  time.disabled = utterance.end > sound.seconds + 1 || utterance.start < sound.first;
  time.addEventListener("click", () => {
    if (utterance.start < sound.first) time.disabled = true; // no longer kept
    else replay(utterance.start, utterance.end);
  });
  words.textContent = utterance.text;
  words.lang = utterance.language;
  line.append(time, words);
  const log = part("log"), isAtEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 40;
  part("lines").append(line);
  if (isAtEnd) log.scrollTop = log.scrollHeight;
  while (part("lines").children.length > LINES) {
    part("lines").firstChild.remove();
    part("earlier").hidden = false;
  }
}

function clear() {
  player.stop();
  sound.clear();
  text.clear();
  part("lines").replaceChildren();
  part("earlier").hidden = true;
  picture.following = true;
  showText();
}

// --- replay ---

function replay(from, to) {
  const start = Math.max(from, sound.first);
  player.play(wake(), sound.part(start, Math.min(to, start + REPLAYED)), start);
}

function follow() {
  const place = player.place;
  picture.move(place, !run);
  for (const token of part("tokens").children)
    token.classList.toggle("now", place !== null && place >= +token.dataset.start && place < +token.dataset.end);
  if (place !== null) requestAnimationFrame(follow);
}

// --- recognition ---

function begin(kind, stop) {
  run = { kind, stop, isStopped: false };
  last = kind;
  part("speak").classList.add("on");
  part("speak-text").textContent = "Stop";
  part("speak").disabled = false;
  for (const one of controls()) one.disabled = true;
  picture.following = true;
  showText();
}

function end() {
  run = null;
  part("speak").classList.remove("on");
  part("speak-text").textContent = "Speak";
  part("speak").disabled = Boolean(MICROPHONE_MISSING);
  for (const one of controls()) one.disabled = false;
  showText();
}

const controls = () => [part("model"), part("choose"), ...part("examples").children];

// Recognises a kind of source. `prepare` gets hold of it and returns what sends its sound, which ends
// when no more follows or when it shall stop.
async function recognise(kind, retry, prepare) {
  player.stop();
  let stream = null;
  const stopped = new Promise(resolve => begin(kind, () => {
    part("speak").disabled = run.isStopped = true;
    resolve();
  }));
  try {
    const send = await prepare();
    tell("Connecting …");
    text.begin(sound.seconds, null);
    stream = new Stream(part("model").value, key, hear);
    const take = block => { sound.push(block); stream.send(block); show(); };
    const mayGoOn = () => stream.isOpen && !run.isStopped;
    await send(take, stream, Promise.race([stopped, stream.ended]), mayGoOn);
    if (stream.isOpen) tell("Finishing …");
    stream.finish(PATIENCE);
    finish(await stream.ended, retry);
  } catch (error) {
    if (stream) stream.close();
    finish(error, retry);
  }
}

function finish(error, retry) {
  const kept = text.keepCurrent();
  if (kept) addLine(kept);
  end();
  if (!error) tell(text.all.length ? "" : "No speech was recognised.");
  else if (error instanceof SourceError) tell(error.message, "source");
  else if (error instanceof ServerError) {
    if (error.kind === "key") askForKey(error.message);
    else tell(error.message, error.kind, retry, error.kind === "lost" ? "Reconnect" : "Try again");
  } else tell(`The page failed: ${error.message}`, "page", retry);
}

function hear(message) {
  if (message.type === "ready") {
    text.ready = message;
    if (run && run.kind === "microphone") tell("Listening …");
    else tell("Recognising …");
  }
  if (message.type === "partial") text.partial(message);
  if (message.type === "final") {
    const utterance = text.final(message);
    if (utterance.text) addLine(utterance);
    else text.utterances.pop();
  }
  showText();
}

async function speak() {
  if (run) { run.stop(); return; }
  if (last && last !== "microphone") clear();
  wake();
  await recognise("microphone", speak, async () => {
    tell("The browser asks whether this page may hear you …");
    const microphone = await Microphone.open(context);
    return async (take, stream, stopped) => {
      const lost = microphone.start(take);
      try { await Promise.race([stopped, lost]); } finally { microphone.stop(); }
    };
  });
}

function mayReplace() {
  if (run) return false;
  return last !== "microphone" || !text.all.length || confirm("Replace the transcript on this page?");
}

async function playExample(example) {
  if (!mayReplace()) return;
  clear();
  wake();
  await recognise("example", () => playExample(example), async () => {
    const response = await fetch(example.address).catch(() => null);
    if (!response || !response.ok) throw new ServerError("lost", "The example cannot be loaded.");
    const samples = await decoded(await response.arrayBuffer());
    return async (take, stream, stopped, mayGoOn) => {
      player.play(context, Float32Array.from(samples, value => value / 32768), 0);
      await sendAll(samples, stream, take, mayGoOn, () => player.passed);
      player.stop();
    };
  });
}

async function openFile(file) {
  if (!file || !mayReplace()) return;
  clear();
  tell(`Reading ${file.name} …`);
  const samples = await samplesOf(file);
  if (!samples) { await upload(file); return; }
  await recognise("file", () => openFile(file), async () => (take, stream, stopped, mayGoOn) =>
    sendAll(samples, stream, take, mayGoOn));
}

async function upload(file) { // too long for the picture, or of a format that only the server reads
  const cancel = new AbortController();
  begin("file", () => cancel.abort());
  tell(`${file.name} is recognised as a whole, without the picture …`);
  try {
    const found = await transcribe(file, part("model").value, key, cancel.signal);
    const words = (found.words || []).map(one => ({ text: one.word, start: one.start, end: one.end }));
    for (const { start, end, text: written } of found.segments || [{ start: 0, end: found.duration, text: found.text }]) {
      const utterance = {
        start, end, text: written.trim(), partial: "", language: /^[\w-]+$/.test(found.language) ? found.language : "", tokens: [], keyframes: [], frames: 0,
        words: words.filter(word => word.start >= start && word.start < end),
      };
      text.utterances.push(utterance);
      addLine(utterance);
    }
    finish(null);
  } catch (error) {
    finish(error.name === "AbortError" ? new SourceError("Stopped.") : error, () => openFile(file));
  }
}

// --- what is pressed ---

part("speak").addEventListener("click", speak);
part("retry").addEventListener("click", () => again && again());
part("choose").addEventListener("click", () => part("file").click());
part("file").addEventListener("change", event => { openFile(event.target.files[0]); event.target.value = ""; });
part("clear").addEventListener("click", () => { clear(); tell(""); part("speak").focus(); });
part("chart").addEventListener("click", event => {
  if (!run) replay(picture.time(event.clientX), Infinity);
});
part("chart").addEventListener("keydown", event => {
  if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  if (player.node) player.stop();
  else if (!run) replay(picture.left, Infinity);
});
document.addEventListener("keydown", event => { if (event.key === "Escape") player.stop(); });
for (const kind of ["dragover", "dragleave", "drop"])
  document.addEventListener(kind, event => {
    event.preventDefault();
    document.body.classList.toggle("dropping", kind === "dragover");
    if (kind === "drop") openFile(event.dataTransfer.files[0]);
  });

part("copy").addEventListener("click", async () => {
  const content = FORMATS.txt.make(text.all);
  try {
    await navigator.clipboard.writeText(content);
    tell("Copied.");
  } catch {
    tell("The browser does not let this page copy; take the file instead.", "copy");
  }
});

for (const button of document.querySelectorAll("[data-format]"))
  button.addEventListener("click", () => {
    const { type, make } = FORMATS[button.dataset.format], link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([make(text.all, part("model").value)], { type: `${type};charset=utf-8` }));
    link.download = `transcript.${button.dataset.format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });

// --- the server ---

function askForKey(message) {
  part("access").hidden = false;
  tell(key ? message : "", key ? "key" : "");
  part("key").focus();
}

part("access").addEventListener("submit", event => {
  event.preventDefault();
  key = part("key").value.trim();
  connect();
});

function showExamples() {
  const fitting = examples.filter(one => one.models.includes(part("model").value));
  part("examples").replaceChildren(...fitting.map(one => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "example", textContent: one.text, lang: one.language });
    button.setAttribute("aria-label", `Example: ${one.text}`);
    button.addEventListener("click", () => playExample(one));
    return button;
  }));
  part("examples").hidden = !fitting.length;
}

async function connect() {
  for (const one of [part("speak"), ...controls()]) one.disabled = true;
  try {
    const { data } = await ask("v1/models", key);
    part("access").hidden = true;
    part("model").replaceChildren(...data.map(one => new Option(one.id)));
    examples = await ask("examples").then(found => found.data, () => []);
    showExamples();
    end();
    tell(MICROPHONE_MISSING, MICROPHONE_MISSING && "source");
  } catch (error) {
    if (error.kind === "key") askForKey(error.message);
    else tell(error.message, error.kind, connect);
  }
}

part("model").addEventListener("change", showExamples);
addEventListener("beforeunload", event => { if (run && run.kind === "microphone") event.preventDefault(); });
showText();
connect();
