
"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const { bins, width, height, recordings, photos } = page;
const at = (id) => document.getElementById(id);
const listbox = at("recordings"), slider = at("bin"), stage = at("stage"), filters = [at("class"), at("split"), at("result")];
const dark = matchMedia("(prefers-color-scheme: dark)");
const seen = new Set(); // recordings whose small picture is on the screen
let shown = recordings, selected = null, bin = 0, timer = 0, colours = readColours();

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => [1, 3, 5].map((place) => parseInt(style.getPropertyValue(name).trim().slice(place, place + 2), 16));
  return { paper: read("--paper"), on: read("--on"), off: read("--off") };
}

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function idOf(recording) {
  const made = element("div", "");
  made.append(...recording.id.split("/").flatMap((part, place) => (place ? ["/", element("wbr", ""), part] : [part])));
  return made;
}

// Recordings: levels (T, 2, H, W), OFF before ON.

function unpack(recording) {
  recording.unpacked ??= (async () => {
    const packed = Uint8Array.from(atob(recording.frames), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    recording.levels = new Uint8Array(await new Response(stream).arrayBuffer());
  })();
  return recording.unpacked;
}

async function draw(canvas, recording) {
  await unpack(recording);
  if (canvas === at("recording") && recording !== selected) return;
  const pixels = width * height, off = bin * 2 * pixels, on = off + pixels;
  const image = new ImageData(width, height), { levels } = recording, full = recording.full / recording.step;
  for (let pixel = 0; pixel < pixels; pixel++) {
    const onShare = Math.min(1, levels[on + pixel] / full), offShare = Math.min(1, levels[off + pixel] / full);
    for (let channel = 0; channel < 3; channel++) {
      const paper = colours.paper[channel];
      image.data[4 * pixel + channel] =
        paper + onShare * (colours.on[channel] - paper) + offShare * (colours.off[channel] - paper);
    }
    image.data[4 * pixel + 3] = 255;
  }
  Object.assign(canvas, { width, height }).getContext("2d").putImageData(image, 0, 0);
}

function drawAll() {
  if (selected) draw(at("recording"), selected);
  for (const recording of seen) draw(recording.canvas, recording);
}

// Time.

function showBin(next) {
  bin = (next + bins) % bins;
  slider.value = bin + 1;
  slider.setAttribute("aria-valuetext", `time bin ${bin + 1} of ${bins}`);
  at("bin-text").textContent = `bin ${bin + 1}/${bins}`;
  drawAll();
}

function play(plays) {
  clearInterval(timer);
  timer = plays ? setInterval(() => showBin(bin + 1), 1000 / at("speed").value) : 0;
  at("play").textContent = plays ? "Pause" : "Play";
}

function step(by) {
  play(false);
  showBin(bin + by);
}

// Which recording.

function verdict(recording) {
  if (recording.named === null) return null;
  const isRight = recording.named === recording.class;
  return element("span", `${isRight ? "✓" : "✗"} named ${recording.named}`, isRight ? "right" : "wrong");
}

function select(recording, scrolls) {
  selected?.option.setAttribute("aria-selected", "false");
  selected = recording;
  at("viewer").hidden = !recording;
  listbox.removeAttribute("aria-activedescendant");
  if (!recording) return;
  recording.option.setAttribute("aria-selected", "true");
  listbox.setAttribute("aria-activedescendant", recording.option.id);
  if (scrolls) recording.option.scrollIntoView({ block: "nearest" });
  const photo = recording.photo === null ? null : photos[recording.photo];
  at("beside").hidden = !photo;
  if (photo) {
    at("photo").src = photo.source;
    at("photo").alt = `${recording.whose}: ${photo.id}`;
    at("whose").textContent = `${recording.whose}: ${photo.id}`;
  }
  at("recording").setAttribute("aria-label", `Recording ${recording.id}, class ${recording.class}`);
  const number = (value) => Number(value.toPrecision(3)).toString();
  const events = `${number(recording.step)} event${recording.step === 1 ? "" : "s"}`;
  const scale = `One level is ${events}, full colour ${number(recording.full)} in a pixel and bin.`;
  const facts = [["b", recording.id], ["span", [`class ${recording.class}`, recording.split].filter(Boolean).join(", ")]];
  const lines = [...facts, ["small", [recording.about, scale].filter(Boolean).join(". ")]].map((fact) => element(...fact));
  const said = verdict(recording);
  if (said) lines.splice(2, 0, said);
  at("facts").replaceChildren(...lines.map((line) => {
    const paragraph = element("p", "");
    paragraph.append(line);
    return paragraph;
  }));
  draw(at("recording"), recording);
}

function move(by) {
  if (shown.length) select(shown[(shown.indexOf(selected) + by + shown.length) % shown.length], true);
}

// Filters.

function resultOf(recording) {
  return recording.named === null ? "" : recording.named === recording.class ? "rightly" : "wrongly";
}

function valueOf(recording, key) {
  return key === "result" ? resultOf(recording) : recording[key];
}

function applyFilters(event) {
  const isWanted = (recording) =>
    filters.every((filter) => !filter.value || valueOf(recording, filter.dataset.key) === filter.value);
  shown = recordings.filter(isWanted);
  for (const recording of recordings) recording.option.hidden = true;
  for (const recording of shown) recording.option.hidden = false;
  at("count").textContent = shown.length ? `${shown.length} of ${recordings.length} recordings` : "No recording fits.";
  if (!shown.includes(selected)) select(shown[0] ?? null, Boolean(event));
}

for (const filter of filters) {
  const values = [...new Set(recordings.map((recording) => valueOf(recording, filter.dataset.key)))].filter(Boolean);
  filter.append(new Option("all", ""), ...values.map((value) => new Option(value, value)));
  filter.parentElement.hidden = !values.length;
  filter.addEventListener("change", applyFilters);
}

// The small pictures.

const watch = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const recording = recordings[target.dataset.number];
    if (!isIntersecting) seen.delete(recording);
    else if (seen.add(recording)) draw(recording.canvas, recording);
  }
}, { rootMargin: "200px" });
recordings.forEach((recording, number) => {
  const option = element("div", "");
  const canvas = Object.assign(element("canvas", ""), { width, height });
  option.append(canvas, idOf(recording), ...[verdict(recording)].filter(Boolean));
  option.id = `recording-${number}`;
  option.dataset.number = number;
  option.setAttribute("role", "option");
  option.setAttribute("aria-selected", "false");
  option.addEventListener("click", () => select(recording, false));
  Object.assign(recording, { option, canvas });
  listbox.append(option);
  watch.observe(option);
});

// Keys and touch.

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.altKey || event.ctrlKey || event.metaKey || target.matches("select")) return;
  const moves = { ArrowUp: () => move(-1), ArrowDown: () => move(1) };
  if (!target.matches("button")) moves[" "] = () => play(!timer);
  if (target !== slider) Object.assign(moves, { ArrowLeft: () => step(-1), ArrowRight: () => step(1) });
  if (!(key in moves)) return;
  event.preventDefault();
  moves[key]();
});
slider.addEventListener("input", () => {
  play(false);
  showBin(slider.value - 1);
});
at("play").addEventListener("click", () => play(!timer));
at("speed").addEventListener("change", () => play(Boolean(timer)));
let pressed = null;
stage.addEventListener("pointerdown", (event) => { pressed = event; });
stage.addEventListener("pointercancel", () => { pressed = null; });
stage.addEventListener("pointerup", (event) => {
  if (!pressed) return;
  const [x, y] = [event.clientX - pressed.clientX, event.clientY - pressed.clientY];
  pressed = null;
  if (Math.abs(x) > 40 && Math.abs(x) > 1.5 * Math.abs(y)) move(x < 0 ? 1 : -1);
  else if (Math.hypot(x, y) < 10) play(!timer);
});
dark.addEventListener("change", () => {
  colours = readColours();
  drawAll();
});

applyFilters();
showBin(0);
play(!matchMedia("(prefers-reduced-motion: reduce)").matches && bins > 1);
