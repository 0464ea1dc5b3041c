/* The picture: layers of video and still, the divider, linked zoom, the difference. */
const HEAT = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];
const MAX_ZOOM = 16;
const PIXELS_FROM = 4; // times life size, from where single pixels are shown

class Stage {
  constructor(root, data, onZoom) {
    Object.assign(this, { root, data, onZoom, left: 0, right: 1, split: 50, zoom: 1, x: 0.5, y: 0.5, gain: 4 });
    this.divider = root.querySelector("#divider");
    this.canvas = root.querySelector("#difference");
    this.layers = data.videos.map((video, index) => this.addLayer(video, index));
    this.pointers = new Map();
    this.heat = heatColours();
    root.style.setProperty("--aspect", data.width / data.height);
    const isWide = data.width >= data.height;
    root.style.setProperty("--columns", Math.min(data.videos.length, isWide ? 2 : 3));
    root.style.setProperty("--phone-columns", isWide ? 1 : 2);
    this.listen();
    this.setPair(0, 1);
    this.setSplit(50);
    new ResizeObserver(() => this.place()).observe(root);
  }

  addLayer(facts, index) {
    const make = (name, parent, className) => {
      const element = parent.appendChild(document.createElement(name));
      if (className) element.className = className;
      return element;
    };
    const layer = make("div", this.root, "layer");
    const content = make("div", layer, "content");
    const video = make("video", content);
    const image = make("img", content);
    const chip = make("span", layer, "chip");
    Object.assign(video, { muted: true, playsInline: true, preload: "auto" });
    video.setAttribute("aria-label", facts.label);
    image.alt = "";
    chip.textContent = facts.chip;
    chip.style.setProperty("--chip", `var(--video-${index})`);
    video.addEventListener("seeked", () => this.refresh());
    return { layer, content, video, image };
  }

  get view() { return this.root.dataset.view; }

  setView(view) {
    this.root.dataset.view = view;
    this.place();
    this.refresh();
  }

  setPair(left, right) {
    Object.assign(this, { left, right });
    this.layers.forEach(({ layer }, index) => {
      layer.classList.toggle("is-left", index === left);
      layer.classList.toggle("is-right", index === right);
    });
    this.refresh();
  }

  setSplit(percent) {
    this.split = Math.min(Math.max(percent, 0), 100);
    this.root.style.setProperty("--split", `${this.split}%`);
    this.divider.setAttribute("aria-valuenow", Math.round(this.split));
  }

  /* Shows a moment's stills, or with null the videos. */
  async showStills(stills) {
    this.root.classList.toggle("still", stills !== null);
    if (stills === null) return;
    this.layers.forEach(({ image }, index) => { image.src = stills[index]; });
    await Promise.all(this.layers.map(({ image }) => image.decode().catch(() => {})));
    this.refresh();
  }

  get lifeSize() { // zoom at which a pixel of the picture is one of the screen
    const pane = this.view === "side" ? this.layers[0].layer : this.root;
    return this.data.width / Math.max(pane.clientWidth * devicePixelRatio, 1);
  }

  setZoom(zoom, at = null) {
    const old = this.zoom;
    this.zoom = Math.min(Math.max(zoom, 1), Math.max(MAX_ZOOM * this.lifeSize, MAX_ZOOM));
    if (at) { // the place under the pointer stays where it is
      this.x += (at.x - 0.5) * (1 / old - 1 / this.zoom);
      this.y += (at.y - 0.5) * (1 / old - 1 / this.zoom);
    }
    this.place();
  }

  pan(dx, dy) { // shares of the pane
    this.x -= dx / this.zoom;
    this.y -= dy / this.zoom;
    this.place();
  }

  place() {
    const reach = 0.5 / this.zoom;
    this.x = Math.min(Math.max(this.x, reach), 1 - reach);
    this.y = Math.min(Math.max(this.y, reach), 1 - reach);
    const move = `translate(${(0.5 - this.x * this.zoom) * 100}%, ${(0.5 - this.y * this.zoom) * 100}%) scale(${this.zoom})`;
    for (const { content } of this.layers) content.style.transform = move;
    this.canvas.style.transform = move;
    this.root.classList.toggle("zoomed", this.zoom > 1);
    this.root.classList.toggle("pixels", this.zoom >= PIXELS_FROM * this.lifeSize);
    this.onZoom();
  }

  /* Draws the difference anew; `coarse` while it plays. */
  refresh(coarse = false) {
    if (this.view !== "difference") return;
    const width = coarse ? Math.min(this.data.width, 480) : this.data.width;
    const height = Math.round((width * this.data.height) / this.data.width);
    const [mine, other] = [this.left, this.right].map((index) => this.pixels(index, width, height));
    if (!mine || !other) return;
    Object.assign(this.canvas, { width, height });
    const drawing = this.canvas.getContext("2d");
    const image = drawing.createImageData(width, height);
    const out = new Uint32Array(image.data.buffer);
    for (let i = 0, j = 0; i < out.length; i += 1, j += 4) {
      const change = Math.abs(mine[j] - other[j]) + Math.abs(mine[j + 1] - other[j + 1]) + Math.abs(mine[j + 2] - other[j + 2]);
      out[i] = this.heat[Math.min(Math.round((change * this.gain) / 3), 255)];
    }
    drawing.putImageData(image, 0, 0);
  }

  pixels(index, width, height) {
    const { video, image } = this.layers[index];
    const shown = this.root.classList.contains("still") ? image : video;
    if (shown === video && video.readyState < 2) return null;
    if (shown === image && !image.complete) return null;
    const canvas = new OffscreenCanvas(width, height);
    const drawing = canvas.getContext("2d", { willReadFrequently: true });
    drawing.drawImage(shown, 0, 0, width, height);
    return drawing.getImageData(0, 0, width, height).data;
  }

  drawScale(canvas) {
    const drawing = canvas.getContext("2d");
    const image = drawing.createImageData(256, 1);
    new Uint32Array(image.data.buffer).set(this.heat);
    drawing.putImageData(image, 0, 0);
  }

  /* Where a pointer is, as shares of the pane it is in. */
  at(event) {
    const pane = this.view === "side" ? event.target.closest(".layer") ?? this.layers[0].layer : this.root;
    const box = pane.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height, box };
  }

  listen() {
    const { root, divider } = this;
    root.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.movesDivider = this.view === "slider" && (event.target === divider || this.zoom === 1);
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      root.setPointerCapture(event.pointerId);
      if (this.movesDivider && event.pointerType === "mouse") this.setSplit(this.at(event).x * 100);
    });
    root.addEventListener("pointermove", (event) => this.drag(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      root.addEventListener(kind, (event) => this.pointers.delete(event.pointerId));
    }
    root.addEventListener("dblclick", (event) => {
      this.setZoom(this.zoom > 1 ? 1 : Math.max(2, this.lifeSize * 2), this.at(event));
    });
    root.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.setZoom(this.zoom * Math.exp(-event.deltaY / 300), this.at(event));
    }, { passive: false });
    divider.addEventListener("keydown", (event) => {
      const change = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
      if (change === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.setSplit(this.split + change);
    });
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const { box, x } = this.at(event);
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    if (others.length) { // two fingers
      const other = others[0][1];
      const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
      const middle = { x: ((now.x + other.x) / 2 - box.left) / box.width, y: ((now.y + other.y) / 2 - box.top) / box.height };
      this.setZoom((this.zoom * distance(now)) / distance(before), middle);
      this.movesDivider = false;
    } else if (this.movesDivider) this.setSplit(x * 100);
    else this.pan((now.x - before.x) / box.width, (now.y - before.y) / box.height);
    this.pointers.set(event.pointerId, now);
  }
}

/* 256 colours from equal to different, as little-endian RGBA. */
function heatColours() {
  const colours = new Uint32Array(256);
  for (let i = 0; i < 256; i += 1) {
    const place = (i / 255) * (HEAT.length - 1);
    const low = Math.min(Math.floor(place), HEAT.length - 2);
    const [red, green, blue] = HEAT[low].map((value, channel) => Math.round(value + (HEAT[low + 1][channel] - value) * (place - low)));
    colours[i] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  return colours;
}
