"use strict";
/* global d3 */
// Charts, by D3's shapes. Two large ones with axes, which the arrow keys read too, and lines without.

function sparkline(svg, values, count) {
  const top = Math.max(...values, 0) || 1, width = 100, height = 20;
  const x = (i) => (count - values.length + i) * width / (count - 1), y = (v) => height - 1 - (height - 2) * v / top;
  if (!svg.firstChild) {
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.append(drawn("path", { class: "area" }), drawn("path", { class: "line" }));
  }
  const known = (v) => v != null;
  svg.firstChild.setAttribute("d", d3.area().defined(known).x((v, i) => x(i)).y0(height).y1(y)(values) || "");
  svg.lastChild.setAttribute("d", d3.line().defined(known).x((v, i) => x(i)).y(y)(values) || "");
}

// points: [{t, …}]; series: [{key, name, className, dash}]; `stacked` or lines; show(n) makes words.
class Chart {
  constructor(id, series, options) {
    Object.assign(this, { node: $("chart-" + id), legend: $("legend-" + id), series, ...options, at: null, points: [] });
    this.node.tabIndex = 0;
    this.node.setAttribute("role", "img");
    this.node.addEventListener("keydown", (e) => this.key(e));
    this.node.addEventListener("pointermove", (e) => this.point(e));
    this.node.addEventListener("pointerleave", () => this.choose(null));
    this.node.addEventListener("blur", () => this.choose(null));
    new ResizeObserver(() => this.draw()).observe(this.node);
  }

  set(points, seconds) {
    this.points = points;
    this.seconds = seconds;
    this.draw();
  }

  choose(at) {
    this.at = at;
    this.draw();
  }
  key(e) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!step || !this.points.length) return;
    e.preventDefault();
    const last = this.points.length - 1, from = this.at == null ? last + 1 : this.indexOf(this.at);
    this.choose(this.points[Math.min(last, Math.max(0, from + step))].t);
  }
  point(e) {
    if (!this.points.length || !this.x) return;
    const box = this.node.getBoundingClientRect();
    this.choose(this.points[d3.bisector((p) => this.x(p.t)).center(this.points, e.clientX - box.left)].t);
  }
  indexOf(t) {
    return d3.bisector((p) => p.t).center(this.points, t);
  }

  draw() {
    const width = this.node.clientWidth, height = this.node.clientHeight;
    if (!this.points.length || !width) return;
    const right = 8, bottom = 16, left = 46, above = 6;
    const end = this.points[this.points.length - 1].t, begin = end - this.seconds;
    const sums = this.points.map((p) => this.stacked ? this.series.reduce((s, x) => s + (p[x.key] || 0), 0) : Math.max(...this.series.map((x) => p[x.key] || 0)));
    const [, top] = d3.nice(0, Math.max(...sums) || 1, 4);
    this.x = (t) => left + (width - left - right) * (t - begin) / this.seconds;
    const y = (v) => height - bottom - (height - bottom - above) * v / top;
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const v of d3.ticks(0, top, 4)) {
      svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: y(v), y2: y(v) }),
        drawn("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, (this.axis || this.show)(v)));
    }
    for (const back of [1, 0.5, 0]) {
      svg.append(drawn("text", { x: this.x(end - back * this.seconds), y: height - 2, "text-anchor": back === 1 ? "start" : back ? "middle" : "end" },
        back ? "−" + span(back * this.seconds) : "now"));
    }
    this.shapes(svg, y);
    if (this.at != null) svg.append(drawn("line", { class: "cross", x1: this.x(this.at), x2: this.x(this.at), y1: above, y2: height - bottom }));
    this.node.replaceChildren(svg);
    this.tell();
  }

  shapes(svg, y) {
    if (this.stacked) {
      const layers = d3.stack().keys(this.series.map((s) => s.key)).value((p, k) => p[k] || 0)(this.points);
      const area = d3.area().x((d) => this.x(d.data.t)).y0((d) => y(d[0])).y1((d) => y(d[1]));
      layers.forEach((l, i) => svg.append(drawn("path", { class: "fill " + this.series[i].className, d: area(l) })));
      return;
    }
    for (const s of this.series) {
      const line = d3.line().defined((p) => p[s.key] != null).x((p) => this.x(p.t)).y((p) => y(p[s.key]));
      svg.append(drawn("path", { class: `line ${s.className} ${s.dash || ""}`, d: line(this.points) || "" }));
    }
  }

  // The legend has the numbers, of now or of the moment that is pointed at.
  tell() {
    const last = this.points.length - 1, i = this.at == null ? last : this.indexOf(this.at), p = this.points[i];
    const when = i === last ? "now" : span(this.points[last].t - p.t) + " ago";
    const words = this.series.filter((s) => p[s.key] != null && (!s.rare || this.points.some((q) => q[s.key]))).map((s) => [s, `${s.name} ${this.show(p[s.key])}`]);
    this.legend.replaceChildren(...words.map(([s, text]) => {
      const li = make("li", null, s.className);
      li.append(make("span", text));
      return li;
    }), make("li", when, "dim when"));
    this.node.setAttribute("aria-label", `${this.title}, ${when}: ${words.map((w) => w[1]).join(", ")}. Left and right arrow keys read earlier moments.`);
  }
}
