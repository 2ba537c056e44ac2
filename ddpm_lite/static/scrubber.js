// Scrubs through pictures that are known beforehand. All frames lie in one image, row by row; a slider
// chooses the one to draw. No kernel, no network. Three hosts use this one file: a notebook's HTML output
// and a static page call mountAll(), or mount() with their own options; anywidget calls render().

const PLAY = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 2.5v11l9.5-5.5z"/></svg>';
const PAUSE = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z"/></svg>';
const SPEEDS = [[0.25, "¼×"], [0.5, "½×"], [1, "1×"], [2, "2×"], [4, "4×"]];
const SLOW = 2; // frames a second, at most, for whoever asked their system for less motion

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// options: sheet (address of the image), width, height (of a frame), ncol (frames a row), frames, labels, alt,
// scale (CSS pixels a pixel), fps, start, loop. onChange(index) hears of every new frame.
// Returns { index, seek(index), play(), pause(), ready (a promise), destroy() }.
export function mount(el, options, onChange = () => {}) {
  const { width, height, ncol, frames, labels, alt, scale = 1, fps = 12, start = 0, loop = false } = options;
  const last = frames - 1;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const sheet = new Image();
  let index = -1, playing = 0, then = 0, credit = 0; // credit: the part of a frame that is already due

  const canvas = make("canvas", { role: "img", width, height });
  canvas.style.width = `${width * scale}px`;
  const ours = { "data-lm-suppress-shortcuts": "true" }; // else JupyterLab takes b, x, ... for its own commands
  const button = make("button", { type: "button", ...ours });
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "Frame", ...ours });
  const label = make("span", { class: "ddpm-label", "aria-hidden": "true" }); // the slider's value text says it
  label.style.minWidth = `${Math.max(...labels.map((text) => text.length))}ch`;
  const speed = make("select", { "aria-label": "Speed", ...ours },
    ...SPEEDS.map(([value, text]) => make("option", { value, ...(value === 1 && { selected: "" }) }, text)));
  const bar = make("div", { class: "ddpm-bar" }, button, slider, label, speed);
  el.classList.add("ddpm-scrubber");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", alt);
  el.replaceChildren(canvas, bar);

  function draw() {
    const context = canvas.getContext("2d");
    const [x, y] = [(index % ncol) * width, Math.floor(index / ncol) * height];
    context.drawImage(sheet, x, y, width, height, 0, 0, width, height);
  }

  function seek(wanted) {
    const next = Math.min(last, Math.max(0, Math.round(wanted)));
    if (next === index) return;
    index = next;
    slider.value = index;
    slider.style.setProperty("--at", last ? index / last : 1);
    slider.setAttribute("aria-valuetext", labels[index]);
    label.textContent = labels[index];
    canvas.setAttribute("aria-label", `${alt} ${labels[index]}`);
    if (sheet.complete && sheet.naturalWidth) draw();
    onChange(index);
  }

  function show(state) {
    button.innerHTML = state ? PAUSE : PLAY;
    button.setAttribute("aria-label", state ? "Pause" : "Play");
  }

  function pause() {
    cancelAnimationFrame(playing);
    playing = 0;
    show(false);
  }

  function play() {
    if (playing || last < 1) return;
    if (index === last) seek(0);
    then = performance.now();
    credit = 0;
    show(true);
    playing = requestAnimationFrame(step);
  }

  function step(now) {
    if (!el.isConnected) return pause(); // the cell was run again, or scrolled out of a windowed notebook
    const rate = fps * Number(speed.value);
    credit += ((now - then) / 1000) * (calm.matches ? Math.min(rate, SLOW) : rate);
    then = now;
    const next = index + Math.floor(credit);
    credit %= 1;
    seek(loop ? next % frames : next);
    if (!loop && index === last) return pause();
    playing = requestAnimationFrame(step);
  }

  const toggle = () => (playing ? pause() : play());
  const keys = { // the slider has these by itself; here they are for the button and for browsers that differ
    ArrowLeft: () => index - 1, ArrowDown: () => index - 1, ArrowRight: () => index + 1, ArrowUp: () => index + 1,
    PageDown: () => index - Math.ceil(frames / 10), PageUp: () => index + Math.ceil(frames / 10),
    Home: () => 0, End: () => last,
  };
  el.addEventListener("keydown", (event) => {
    if (event.target === speed || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === " " && event.target === slider) toggle();
    else if (keys[event.key]) (pause(), seek(keys[event.key]()));
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  slider.addEventListener("input", () => (pause(), seek(slider.valueAsNumber)));
  button.addEventListener("click", toggle);
  canvas.addEventListener("click", toggle);

  show(false);
  seek(start);
  sheet.src = options.sheet;
  const ready = sheet.decode().then(draw);
  return { get index() { return index; }, seek, play, pause, ready, destroy: () => (pause(), el.replaceChildren()) };
}

// Brings every <figure class="ddpm-scrubber" data-scrubber="{options}"> of a page to life, once.
export function mountAll(root = document) {
  for (const el of root.querySelectorAll("[data-scrubber]")) {
    const options = JSON.parse(el.dataset.scrubber);
    el.removeAttribute("data-scrubber");
    mount(el, options);
  }
}

// anywidget's entry point.
function render({ model, el }) {
  const url = URL.createObjectURL(new Blob([model.get("sheet")]));
  const root = el.appendChild(make("div", {}));
  const scrubber = mount(root, { ...model.get("options"), sheet: url, start: model.get("index") }, (index) => {
    if (index === model.get("index")) return;
    model.set("index", index);
    model.save_changes();
  });
  const follow = () => scrubber.seek(model.get("index"));
  model.on("change:index", follow);
  scrubber.ready.finally(() => URL.revokeObjectURL(url));
  return () => (model.off("change:index", follow), scrubber.destroy());
}
export default { render };
