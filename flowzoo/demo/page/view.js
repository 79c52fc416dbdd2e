// Draws a result and tells the vector at a place of it.

const ARROW_HEAD = 7; // pixels of the screen

export class View {
  constructor(canvas, told) {
    this.canvas = canvas;
    this.told = told;
    this.shown = "flow";
    this.split = 0.5;
    this.place = null;
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerdown", (event) => this.point(event));
    canvas.addEventListener("keydown", (event) => this.step(event));
  }

  // result: {width, height, flow: Float32Array of x and y in turn, pictures: {name: ImageBitmap}}
  show(result) {
    this.result = result;
    this.place = null;
    // About the screen's own pixels, so that arrows are sharp on small images, too; the flow keeps its size.
    this.zoom = Math.min(1920, Math.max(result.width, 1200)) / result.width;
    this.canvas.width = Math.max(1, Math.round(result.width * this.zoom));
    this.canvas.height = Math.max(1, Math.round(result.height * this.zoom));
    this.draw();
  }

  point(event) {
    if (!this.result) return;
    const box = this.canvas.getBoundingClientRect();
    this.move((event.clientX - box.left) / box.width * this.result.width,
      (event.clientY - box.top) / box.height * this.result.height);
  }

  step(event) {
    const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    if (!this.result || !(event.key in steps)) return;
    event.preventDefault();
    const far = event.shiftKey ? 20 : 1;
    const [x, y] = this.place ?? [Math.floor(this.result.width / 2), Math.floor(this.result.height / 2)];
    this.move(x + far * steps[event.key][0], y + far * steps[event.key][1]);
  }

  move(x, y) {
    const inside = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value)));
    this.place = [inside(x, this.result.width), inside(y, this.result.height)];
    const [u, v] = this.vector();
    this.told.textContent = `At (${this.place[0]}, ${this.place[1]}): ${Math.abs(u).toFixed(2)} px ` +
      `${u < 0 ? "left" : "right"}, ${Math.abs(v).toFixed(2)} px ${v < 0 ? "up" : "down"}; ` +
      `length ${Math.hypot(u, v).toFixed(2)} px`;
    this.draw();
  }

  vector() {
    const start = 2 * (this.place[1] * this.result.width + this.place[0]);
    return [this.result.flow[start], this.result.flow[start + 1]];
  }

  draw() {
    if (!this.result) return;
    const {canvas, result} = this;
    const pen = canvas.getContext("2d");
    const {width, height} = canvas;
    if (this.shown === "warp") {
      pen.drawImage(result.pictures.warped, 0, 0, width, height);
      const edge = Math.round(this.split * width);
      if (edge > 0) {
        pen.save();
        pen.beginPath();
        pen.rect(0, 0, edge, height);
        pen.clip();
        pen.drawImage(result.pictures.first, 0, 0, width, height);
        pen.restore();
      }
      pen.fillStyle = "#fff";
      pen.fillRect(edge - 1, 0, 2, height);
    } else {
      pen.drawImage(result.pictures[this.shown === "flow" ? "flow.png" : "occlusion"], 0, 0, width, height);
    }
    if (this.place) this.arrow(pen);
  }

  arrow(pen) {
    const [u, v] = this.vector();
    const scale = this.canvas.width / Math.max(1, this.canvas.getBoundingClientRect().width);
    const x = (this.place[0] + 0.5) * this.zoom, y = (this.place[1] + 0.5) * this.zoom;
    const length = Math.hypot(u, v) * this.zoom, head = Math.min(ARROW_HEAD * scale, length);
    const angle = Math.atan2(v, u), endX = x + u * this.zoom, endY = y + v * this.zoom;
    pen.lineCap = "round";
    for (const [colour, wide] of [["#fff", 4], ["#000", 2]]) {
      pen.strokeStyle = pen.fillStyle = colour;
      pen.lineWidth = wide * scale;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(endX, endY);
      for (const side of [-0.5, 0.5]) {
        pen.moveTo(endX, endY);
        pen.lineTo(endX - head * Math.cos(angle + side), endY - head * Math.sin(angle + side));
      }
      pen.stroke();
      pen.beginPath();
      pen.arc(x, y, (wide + 1) * scale, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}
