/* Puts the page together from its data, and listens. */
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
let moment = null; // index of the one shown as stills

/* The source's time at a time of the player, and back to the nearest time that the player has. */
const spanAt = (time) => data.spans.findLast((span) => span.offset <= time + 1e-6) ?? data.spans[0];
const sourceTime = (time) => { const span = spanAt(time); return span.start + time - span.offset; };
function playerTime(time) {
  const nearest = (span) => Math.min(Math.max(time, span.start), span.stop);
  const gap = (span) => Math.abs(nearest(span) - time);
  const span = data.spans.reduce((best, other) => (gap(other) < gap(best) ? other : best));
  return span.offset + nearest(span) - span.start;
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - minutes * 60).toFixed(2).padStart(5, "0")}`;
}

const stage = new Stage(byId("stage"), data, showZoom);
const player = new Player(stage.layers.map(({ video }) => video), {
  duration: data.duration, frames: data.frames, onTime: showTime, onState: showState,
});

function showZoom() {
  byId("zoom-value").textContent = stage.zoom === 1 ? "Fit" : `${Math.round((100 * stage.zoom) / stage.lifeSize)} %`;
}

function showTime() {
  if (moment !== null && Math.abs(player.time - data.moments[moment].at) > 1e-3) leaveMoment();
  const time = sourceTime(player.time);
  byId("scrub").value = player.time;
  byId("scrub").setAttribute("aria-valuetext", clock(time));
  byId("clock").textContent = clock(time);
  const left = `${(100 * (time - data.first)) / (data.end - data.first)}%`;
  for (const cursor of document.querySelectorAll(".cursor")) cursor.style.left = left;
  showValues(time);
  if (player.playing) stage.refresh(true);
}

/* The measured values at a time, beside each plot's title. */
function showValues(time) {
  let low = 0;
  for (let high = data.times.length; high - low > 1;) {
    const middle = (low + high) >> 1;
    if (data.times[middle] <= time + 1e-4) low = middle; else high = middle;
  }
  for (const place of document.querySelectorAll("[data-metric]")) {
    const value = data.series[place.dataset.video][place.dataset.metric][low];
    place.textContent = value.toFixed(place.dataset.digits);
  }
}

function showState() {
  const button = byId("play");
  button.textContent = player.playing ? "❚❚" : "▶";
  button.setAttribute("aria-label", player.playing ? "Pause" : "Play");
  if (player.playing) leaveMoment(); else stage.refresh();
  showMode();
}

function showMode() {
  const still = moment === null ? "" : `Still of ${clock(data.moments[moment].time)}: ${data.moments[moment].reason}`;
  byId("mode").textContent = still || (player.playing ? "Playing" : "Paused");
}

function leaveMoment() {
  if (moment === null) return;
  moment = null;
  stage.showStills(null);
  markMoment();
}

function goToMoment(index) {
  player.pause();
  moment = index;
  player.seek(data.moments[index].at);
  stage.showStills(data.moments[index].stills);
  markMoment();
  byId("said").textContent = `Moment ${index + 1} of ${data.moments.length}, ${clock(data.moments[index].time)}, ${data.moments[index].reason}`;
}

function markMoment() {
  byId("moments").querySelectorAll("button").forEach((button, index) => {
    button.setAttribute("aria-current", index === moment);
  });
  showMode();
}

function stepMoment(direction) {
  const from = moment ?? data.moments.findLastIndex(({ at }) => at <= player.time) + (direction < 0 ? 1 : 0);
  goToMoment((from + direction + data.moments.length) % data.moments.length);
}

function setView(view) {
  document.querySelector(`input[name="view"][value="${view}"]`).checked = true;
  stage.setView(view);
  byId("pair").hidden = view === "side";
  byId("gain-box").hidden = byId("legend").hidden = view !== "difference";
}

function setGain(gain) {
  stage.gain = gain;
  byId("scale-end").textContent = `${Math.round(255 / gain)} levels of 255 or more`;
  stage.refresh();
}

function setPair(left, right) {
  byId("left").value = left;
  byId("right").value = right;
  stage.setPair(left, right);
}

function fillMoments() {
  data.moments.forEach(({ time, reason, stills }, index) => {
    const item = byId("moments").appendChild(document.createElement("li"));
    const button = item.appendChild(document.createElement("button"));
    button.type = "button";
    const image = button.appendChild(document.createElement("img"));
    Object.assign(image, { src: stills[stills.length - 1], alt: "", loading: "lazy" });
    for (const [name, text] of [["time", clock(time)], ["reason", reason]]) {
      const words = button.appendChild(document.createElement("span"));
      Object.assign(words, { className: name, textContent: text });
    }
    button.addEventListener("click", () => goToMoment(index));
  });
}

function fillPlots() {
  for (const area of document.querySelectorAll(".area")) {
    const share = (time) => (100 * (time - data.first)) / (data.end - data.first);
    if (data.spans.length > 1) {
      for (const { start, stop } of data.spans) {
        const box = area.appendChild(document.createElement("div"));
        box.className = "span";
        box.style.left = `${share(start)}%`;
        box.style.width = `${share(stop) - share(start)}%`;
      }
    }
    area.appendChild(document.createElement("div")).className = "cursor";
    const go = (event) => {
      const box = area.getBoundingClientRect();
      const part = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      player.pause();
      player.seek(playerTime(data.first + part * (data.end - data.first)));
    };
    area.addEventListener("pointerdown", go);
    area.addEventListener("pointermove", (event) => { if (event.buttons & 1) go(event); });
  }
}

function loadVideos() {
  stage.layers.forEach(({ video }, index) => {
    const payload = byId(`video-${index}`);
    const bytes = Uint8Array.from(atob(payload.textContent), (letter) => letter.charCodeAt(0));
    payload.remove();
    video.addEventListener("error", () => { byId("no-video").hidden = false; });
    video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  });
}

function jump(seconds) {
  player.pause();
  player.seek(player.time + seconds);
}

const KEYS = {
  " ": () => (player.playing ? player.pause() : player.play()),
  ArrowLeft: (event) => (event.shiftKey ? jump(-1) : player.move(-1)),
  ArrowRight: (event) => (event.shiftKey ? jump(1) : player.move(1)),
  n: () => stepMoment(1), p: () => stepMoment(-1),
  1: () => setView("slider"), 2: () => setView("side"), 3: () => setView("difference"),
  "[": () => stage.setSplit(stage.split - 2), "]": () => stage.setSplit(stage.split + 2),
  x: () => setPair(stage.right, stage.left),
  "+": () => stage.setZoom(stage.zoom * 1.5), "=": () => stage.setZoom(stage.zoom * 1.5),
  "-": () => stage.setZoom(stage.zoom / 1.5), 0: () => stage.setZoom(1),
  w: () => stage.pan(0, 0.1), s: () => stage.pan(0, -0.1), a: () => stage.pan(0.1, 0), d: () => stage.pan(-0.1, 0),
};

document.addEventListener("keydown", (event) => {
  const action = KEYS[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  const on = event.target;
  if (on.matches("select") || (event.key.startsWith("Arrow") && on.matches("input, .scroll"))) return;
  if (event.key === " " && on.matches("button, summary, input[type=radio]")) return;
  event.preventDefault();
  action(event);
});

function listen() {
  for (const side of ["left", "right"]) {
    data.videos.forEach(({ label }, index) => byId(side).add(new Option(label, index)));
    byId(side).addEventListener("change", () => setPair(Number(byId("left").value), Number(byId("right").value)));
  }
  for (const input of document.querySelectorAll("input[name=view]")) {
    input.addEventListener("change", () => setView(input.value));
  }
  byId("swap").addEventListener("click", KEYS.x);
  byId("gain").addEventListener("change", () => setGain(Number(byId("gain").value)));
  byId("speed").addEventListener("change", () => player.setRate(Number(byId("speed").value)));
  byId("zoom-in").addEventListener("click", KEYS["+"]);
  byId("zoom-out").addEventListener("click", KEYS["-"]);
  byId("zoom-fit").addEventListener("click", KEYS[0]);
  byId("play").addEventListener("click", KEYS[" "]);
  byId("back").addEventListener("click", () => player.move(-1));
  byId("forward").addEventListener("click", () => player.move(1));
  Object.assign(byId("scrub"), { max: data.duration, step: "any" });
  byId("scrub").addEventListener("input", () => { player.pause(); player.seek(Number(byId("scrub").value)); });
}

document.documentElement.style.setProperty("--aspect", data.width / data.height);
listen();
fillMoments();
fillPlots();
loadVideos();
stage.drawScale(byId("scale"));
setGain(4);
setPair(data.left, data.right);
setView("slider");
goToMoment(data.start);
