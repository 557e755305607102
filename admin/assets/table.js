"use strict";
// Tables that are painted over every second: rows stay the same nodes, so that focus stays where it is. A head sorts by
// its column. Where the server has more rows than it tells of, the filter asks it for those that match.

class Table {
  // columns: {title, fill(td, row), sort(row), number, hint, className}; the first one is the row's head.
  constructor(id, caption, columns, key, none) {
    Object.assign(this, { node: $(id), columns, key, none, sorted: null, down: true, nodes: new Map(), list: [] });
    const head = make("tr");
    columns.forEach((c, i) => head.append(this.head(c, i)));
    const thead = make("thead");
    thead.append(head);
    this.body = make("tbody");
    this.node.append(make("caption", caption), thead, this.body);
  }

  head(c, i) {
    const th = make("th", c.sort ? null : c.title, (c.number ? "n " : "") + (c.className || ""));
    th.scope = "col";
    if (c.hint) th.title = c.hint;
    if (!c.sort) return th;
    const button = make("button", c.title);
    button.type = "button";
    button.addEventListener("click", () => this.sortBy(i));
    th.append(button);
    return th;
  }

  // Down, up, and as they came again.
  sortBy(i) {
    if (this.sorted !== i) [this.sorted, this.down] = [i, !!this.columns[i].number];
    else if (this.down === !!this.columns[i].number) this.down = !this.down;
    else this.sorted = null;
    [...this.node.tHead.rows[0].cells].forEach((th, k) => {
      if (k === this.sorted) th.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
      if (th.firstElementChild) put(th.firstElementChild, this.columns[k].title + (k === this.sorted ? (this.down ? " ▾" : " ▴") : ""));
    });
    this.show(this.list);
  }

  inOrder(list) {
    if (this.sorted == null) return list;
    const value = this.columns[this.sorted].sort, sign = this.down ? -1 : 1;
    return [...list].sort((a, b) => {
      const x = value(a), y = value(b);
      return sign * ((x == null ? -1 : x) < (y == null ? -1 : y) ? -1 : x === y ? 0 : 1);
    });
  }

  show(list) {
    this.list = list;
    const seen = new Set();
    let at = this.body.firstChild;
    if (!list.length) return this.empty();
    this.inOrder(list).forEach((row) => {
      let key = this.key(row);
      while (seen.has(key)) key += "\n";
      seen.add(key);
      let tr = this.nodes.get(key);
      if (!tr) this.nodes.set(key, tr = this.row());
      this.columns.forEach((c, i) => c.fill(tr.cells[i], row));
      if (tr === at) at = at.nextSibling;
      else this.body.insertBefore(tr, at);
    });
    for (const [key, tr] of this.nodes) {
      if (seen.has(key)) continue;
      tr.remove();
      this.nodes.delete(key);
    }
    while (at) {
      const next = at.nextSibling;
      if (![...this.nodes.values()].includes(at)) at.remove();
      at = next;
    }
  }

  row() {
    const tr = make("tr");
    this.columns.forEach((c, i) => {
      const td = make(i ? "td" : "th", null, (c.number ? "n " : "") + (c.className || ""));
      if (!i) td.scope = "row";
      tr.append(td);
    });
    return tr;
  }

  empty() {
    const tr = make("tr"), td = make("td", this.none, "dim");
    td.colSpan = this.columns.length;
    tr.append(td);
    this.nodes.clear();
    this.body.replaceChildren(tr);
  }
}

// A cell that is made anew only when what it shows has changed.
function once(td, signature, ...nodes) {
  if (td.signature === signature) return;
  td.signature = signature;
  td.replaceChildren(...nodes.flatMap((n) => typeof n === "function" ? n() : [n]).filter((n) => n != null));
}
function twoLines(td, first, second, link) {
  once(td, first + "\n" + second + "\n" + link, () => {
    const a = link && make("a", first);
    if (a) a.href = link;
    return [a || document.createTextNode(first), second ? make("small", second) : null];
  });
}
function withLine(td, text, values) {
  if (!td.firstChild) {
    td.append(drawn("svg", { "aria-hidden": "true" }), document.createTextNode(""));
  }
  sparkline(td.firstChild, values, SPARK);
  if (td.lastChild.data !== text) td.lastChild.data = text;
}
function hot(td, text, isHot) {
  once(td, text + isHot, make("span", text, isHot ? "hot" : ""));
}

// The filter of a table whose rows may be too many. ask(text) fetches those that match: {rows, total, matched}.
class Filter {
  constructor(name, table, texts, ask) {
    Object.assign(this, { name, table, texts, ask, text: "", told: { rows: [], total: 0 }, found: null, timer: 0 });
    $(name + "-filter").addEventListener("input", (e) => {
      this.text = e.target.value.trim().toLowerCase();
      this.found = null;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.paint(), 150);
    });
  }
  get asks() {
    return this.text && this.told.total > this.told.rows.length;
  }
  take(told) {
    this.told = told;
    return this.paint();
  }
  async paint() {
    if (!this.asks) {
      const rows = this.text ? this.told.rows.filter((x) => this.texts(x).some((t) => t && t.toLowerCase().includes(this.text))) : this.told.rows;
      return this.show(rows, this.text ? rows.length : this.told.total);
    }
    const text = this.text;
    try {
      const found = await this.ask(text);
      if (text === this.text) this.show(found.rows, found.matched);
    } catch (e) { /* the stream tells of what is wrong */ }
  }
  show(rows, all) {
    const more = all - rows.length, total = this.told.total;
    this.table.show(rows);
    put(this.name + "-count", this.text ? `${number(all)} of ${number(total)}` : number(total));
    put(this.name + "-more", more > 0 ? `… and ${number(more)} more: ${this.text ? "make the filter narrower" : "these are the most active ones; the filter finds the others"}.` : "");
  }
}
