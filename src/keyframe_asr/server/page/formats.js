// The transcript as text, subtitles and JSON.

const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]/;
const width = text => [...text].reduce((sum, letter) => sum + 1 + WIDE.test(letter), 0);
const limit = text => WIDE.test(text) ? 32 : 42; // columns of a line
const LONGEST = 7, SHORTEST = .8, PAUSE = .5; // seconds

// The words of an utterance, each with what separates it from the one before.
function words({ text, words, tokens, start, end }) {
  const timed = words.length ? words : tokens.map(one => ({ ...one, text: one.text.replaceAll("▁", " ").trim() }));
  const found = [];
  let place = 0;
  for (const word of timed) {
    const at = word.text ? text.indexOf(word.text, place) : -1;
    if (at < 0) return [{ text, gap: "", start, end }]; // times of other words than the text's
    found.push({ text: word.text, gap: text.slice(place, at), start: word.start, end: word.end });
    place = at + word.text.length;
  }
  if (!found.length) return text ? [{ text, gap: "", start, end }] : [];
  found.at(-1).text += text.slice(place);
  return found;
}

function lines(group) { // one or two of similar width, or null
  const joined = some => some.map((one, k) => (k ? one.gap : "") + one.text).join("");
  const whole = joined(group);
  if (width(whole) <= limit(whole) || group.length === 1) return [whole];
  const pairs = group.slice(1).map((_, k) => [joined(group.slice(0, k + 1)), joined(group.slice(k + 1))])
    .filter(pair => pair.every(line => width(line) <= limit(line)));
  const longer = pair => Math.max(...pair.map(width));
  return pairs.sort((a, b) => longer(a) - longer(b))[0] || null;
}

export function cues(utterances) {
  const groups = [];
  for (const utterance of utterances) {
    let group = [];
    for (const word of words(utterance)) {
      const pause = group.length && word.start - group.at(-1).end > PAUSE;
      if (group.length && (pause || word.end - group[0].start > LONGEST || !lines([...group, word]))) {
        groups.push(group);
        group = [];
      }
      group.push(word);
    }
    if (group.length) groups.push(group);
  }
  return groups.map((group, k) => {
    const start = group[0].start, next = k + 1 < groups.length ? groups[k + 1][0].start : Infinity;
    const end = Math.max(group.at(-1).end, start + SHORTEST);
    return { start, end: Math.max(start + .04, Math.min(end, next)), lines: lines(group) };
  });
}

function clock(seconds, point) {
  const all = Math.round(1000 * seconds), two = value => String(value).padStart(2, "0");
  const [h, m, s] = [Math.floor(all / 3600000), Math.floor(all / 60000) % 60, Math.floor(all / 1000) % 60];
  return `${two(h)}:${two(m)}:${two(s)}${point}${String(all % 1000).padStart(3, "0")}`;
}

const escaped = text => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const rounded = (_, value) => typeof value === "number" ? +value.toFixed(4) : value;

export const FORMATS = {
  txt: { type: "text/plain", make: utterances => utterances.map(one => one.text + "\n").join("") },
  srt: {
    type: "application/x-subrip",
    make: utterances => cues(utterances).map((cue, k) =>
      `${k + 1}\n${clock(cue.start, ",")} --> ${clock(cue.end, ",")}\n${cue.lines.join("\n").replaceAll("-->", "→")}\n`).join("\n"),
  },
  vtt: {
    type: "text/vtt",
    make: utterances => ["WEBVTT\n", ...cues(utterances).map(cue =>
      `${clock(cue.start, ".")} --> ${clock(cue.end, ".")}\n${escaped(cue.lines.join("\n"))}\n`)].join("\n"),
  },
  json: {
    type: "application/json",
    make: (utterances, model) => JSON.stringify({
      model,
      text: utterances.map(one => one.text).join("\n"),
      utterances: utterances.map(({ start, end, text, words, tokens, keyframes, frames }) =>
        ({ start, end, text, words, tokens, keyframes, frames })),
    }, rounded, 2) + "\n",
  },
};
