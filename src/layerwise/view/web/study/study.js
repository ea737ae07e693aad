// The dataset view: what a study claims and found, where its answers settle, and every question, one click from its grid.

import { createBadge } from "../detail/badge.js";
import { ViewError } from "../data/decode.js";
import { studyClaims } from "./claims.js";
import { studyCurves, studyMeasures } from "./curves.js";
import { studyData, studySetName } from "./data.js";
import { studyCount, studyModelClass, studyName } from "./marks.js";
import { studyMatrix } from "./matrix.js";
import { studyStrips } from "./strips.js";
import { studyTable, studyTermOf, studyWithTerm } from "./table.js";
import { element } from "../shared/text.js";

/**
 * The dataset view of `context.study()`, a study of docs/view-format.md or null: `{element, update(), destroy()}`.
 * Opening a question sets the state's `question` to its row and `tab` to "trace".
 */
export function createStudy(context) {
  const root = element("div", { class: "lw-study" });
  let [raw, parts] = [undefined, null];

  function build() {
    parts?.destroy();
    parts = null;
    raw = context.study();
    root.replaceChildren();
    if (!raw) return;
    try {
      parts = new StudyParts(context, studyData(raw), root);
    } catch (error) {
      if (!(error instanceof ViewError)) throw error;
      root.append(element("p", { class: "lw-message", text: error.message, attrs: { role: "alert" } }));
    }
  }

  return {
    element: root,
    update() {
      if (context.study() !== raw) build();
      if (context.state.get().tab === "study") parts?.update();
    },
    destroy() {
      parts?.destroy();
    },
  };
}

/** Everything that stands on the page of one study. */
class StudyParts {
  constructor(context, data, root) {
    this.context = context;
    this.data = data;
    this.measures = studyMeasures(data);
    this.tip = element("div", { class: "lw-tip lw-study-tip", attrs: { "aria-hidden": "true", hidden: true } });
    const show = (lines, at) => this.showTip(lines, at);
    this.strips = studyStrips({ open: (row) => this.open(row, this.strips), tip: show, announce: context.announce });
    this.table = studyTable({ open: (row) => this.open(row, this.table), sort: (key) => this.sort(key) }, data);
    this.left = null;
    this.curves = element("div");
    this.matrix = element("div");
    this.matrixPart = this.matrixSection();
    const shared = this.setChooser();
    root.append(this.head(), ...[studyClaims(data), shared, this.stripSection(), this.curveSection(), this.matrixPart, this.tableSection(), this.notes(), this.tip].filter(Boolean));
    this.drawn = "";
  }

  head() {
    const { raw, models, columns, sets } = this.data;
    const list = models.map((model, index) => element("li", { class: studyModelClass(index) }, element("span", { class: "lw-study-model" }, element("bdi", { text: studyName(model) })), this.badge(index)));
    const facts = `${studyCount(new Set(columns.id).size, "question")} · ${studyCount(models.length, "model")} · ${studyCount(sets.length, "set")} · read through the ${studyName(raw.lens)} lens`;
    return element("header", { class: "lw-study-head" },
      raw.description ? element("p", { class: "lw-study-description" }, element("bdi", { text: studyName(raw.description, 2000) })) : null,
      element("p", { class: "lw-study-dim", text: facts }),
      element("ul", { class: "lw-study-models", attrs: { "aria-label": "Models, and how far their numbers were checked" } }, list),
      (raw.warnings ?? []).map((warning) => element("p", { class: "lw-study-warning" }, element("span", { text: "⚠ ", attrs: { "aria-hidden": "true" } }), studyName(warning, 600))));
  }

  /** How far a model's numbers were checked: the worst over all its questions. */
  badge(index) {
    const { model, checks, trust } = this.data.details[index] ?? {};
    if (!model) return null;
    const whole = { kind: "trace", model, checks: checks ?? null, trust: trust ?? null, lens: String(this.data.raw.lens), warnings: [], versions: {} };
    const badge = createBadge({ trace: () => whole });
    badge.update();
    return badge.element;
  }

  setChooser() {
    this.set = this.chooser("set", [["", "all sets"], ...this.data.sets.map((set, index) => [String(index + 1), studySetName(set)])], (value) => {
      this.context.state.set({ set: value === "" ? null : this.data.sets[Number(value) - 1] });
    });
    return this.data.sets.length > 1 ? element("div", { class: "lw-study-tools lw-study-shared" }, this.set.field) : null;
  }

  stripSection() {
    this.milestone = this.chooser("milestone", this.data.milestones.map(({ key, title }) => [key, title]), (milestone) => this.context.state.set({ milestone }));
    this.stripHint = element("p", { class: "lw-study-hint" });
    return this.section("Milestones by depth", [this.milestone.field], this.stripHint, this.strips.element);
  }

  curveSection() {
    if (!this.data.curves.length) return null;
    this.curve = this.chooser("measure", this.measures.map(({ key, title }) => [key, title]), (curve) => this.context.state.set({ curve }));
    const hint = "Median over items with a known answer, with its 95 % interval, layer by layer.";
    return this.section("Curves by depth", [this.curve.field], element("p", { class: "lw-study-hint", text: hint }), this.curves);
  }

  matrixSection() {
    this.shown = this.chooser("shown", [["known", "share known"], ["depth", "depth of the milestone chosen above"]], (matrix) => this.context.state.set({ matrix }));
    const hint = "The same facts, asked in other directions and wordings. A number leads to its questions.";
    return this.section("Directions and wordings", [this.shown.field], element("p", { class: "lw-study-hint", text: hint }), this.matrix);
  }

  tableSection() {
    const state = this.context.state;
    const filtered = (column) => (value) => state.set({ filter: studyWithTerm(state.get().filter, column, value === "" ? null : value) });
    this.words = element("input", { attrs: { type: "search", "aria-label": "filter", placeholder: "words, or wording:question", maxlength: 500 }, on: { input: () => state.set({ filter: this.words.value }) } });
    this.known = this.chooser("known", [["", "all"], ["yes", "known"], ["no", "not known"]], filtered("known"));
    this.model = this.chooser("model", [["", "all models"], ...this.data.models.map((model) => [model, studyName(model, 40)])], filtered("model"));
    const words = element("label", { class: "lw-field lw-study-words" }, element("span", { class: "lw-label", text: "filter" }), this.words);
    const models = this.data.models.length > 1 ? [this.model.field] : [];
    return this.section("Every question", [words, this.known.field, ...models], element("p", { class: "lw-study-hint", text: "A row opens the question’s layers. A column’s name sorts by it." }), this.table.element);
  }

  notes() {
    const notes = this.data.raw.notes ?? [];
    return notes.length ? element("footer", { class: "lw-study-hint" }, notes.map((note) => element("p", { text: studyName(note, 600) }))) : null;
  }

  section(title, tools, ...body) {
    return element("section", { class: "lw-study-part", attrs: { "aria-label": title } }, element("div", { class: "lw-study-part-head" }, element("h2", { text: title }), element("div", { class: "lw-study-tools" }, tools)), body);
  }

  chooser(label, options, chosen) {
    const select = element("select", { attrs: { "aria-label": label }, on: { change: () => chosen(select.value) } }, options.map(([value, text]) => element("option", { text: studyName(text, 60), attrs: { value } })));
    return { select, field: element("label", { class: "lw-field" }, element("span", { class: "lw-label", text: label }), select) };
  }

  update() {
    const { set, filter, sort, question, milestone, curve, matrix } = this.context.state.get();
    const shown = {
      set: this.data.sets.includes(set) ? set : null,
      milestone: this.data.milestones.find(({ key }) => key === milestone) ?? this.data.milestones[0],
      measure: this.measures.find(({ key }) => key === curve) ?? this.measures[0],
      of: matrix,
      question,
    };
    const drawn = JSON.stringify(shown);
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      this.set.select.value = shown.set === null ? "" : String(this.data.sets.indexOf(shown.set) + 1);
      this.milestone.select.value = shown.milestone?.key;
      if (this.curve) this.curve.select.value = shown.measure?.key;
      this.shown.select.value = matrix;
      this.drawCharts(shown);
    }
    this.table.draw({ set: shown.set, filter, sort, chosen: question });
    if (this.words.value !== filter) this.words.value = filter;
    this.known.select.value = studyTermOf(filter, "known") ?? "";
    this.model.select.value = this.data.models.find((model) => model === studyTermOf(filter, "model")) ?? "";
    if (this.left) this.comeBack();
  }

  drawCharts({ set, milestone, measure, of, question }) {
    if (milestone) {
      studyHeading(this.strips.element, `Where in depth ${milestone.title}`);
      this.stripHint.textContent = `${studyCapital(milestone.help)}. Each dot is a question, filled where its answer is known: click it for its layers. Line and band: median over items with a known answer, and its 95 % interval.`;
      this.strips.draw({ data: this.data, milestone, set, chosen: question });
    }
    if (measure) {
      studyHeading(this.curves, `${studyCapital(measure.title)} by depth`);
      this.curves.replaceChildren(studyCurves(this.data, measure, set, (lines, at) => this.showTip(lines, at)));
    }
    const matrix = studyMatrix(this.data, { set, milestone, of, choose: (cell) => this.choose(cell) });
    this.matrixPart.hidden = matrix === null;
    this.matrix.replaceChildren(...(matrix ? [matrix] : []));
  }

  /** Opens a question's grid; the way back leads to where it was asked for. */
  open(row, part) {
    if (!this.data.opens(row)) return;
    this.showTip(null);
    this.left = { row, part, top: scrollY };
    this.context.state.set({ question: row, tab: "trace", layer: null, place: null });
    this.context.grid()?.focus();
  }

  comeBack() {
    const { row, part, top } = this.left;
    this.left = null;
    scrollTo({ top, behavior: "instant" });
    part.focus(row);
  }

  sort(key) {
    const now = this.context.state.get().sort;
    this.context.state.set({ sort: now === key ? `-${key}` : now === `-${key}` ? null : key });
  }

  /** Filters the table to one cell of the matrix, and goes there. */
  choose(cell) {
    const filter = [["model", cell.model], ["direction", cell.direction], ["wording", cell.wording]].reduce((made, [column, value]) => (value ? studyWithTerm(made, column, value) : made), "");
    this.context.state.set({ set: cell.set, filter });
    this.words.scrollIntoView({ block: "center" });
    this.words.focus({ preventScroll: true });
  }

  /** Lines of text beside an element of the page; null hides them. */
  showTip(lines, at = null) {
    this.tip.hidden = lines === null;
    if (lines === null) return;
    this.tip.replaceChildren(...lines.map((line, index) => element("div", { class: index ? null : "lw-tip-head", text: line })));
    const [box, mark] = [this.tip.offsetParent?.getBoundingClientRect() ?? { left: 0, top: 0 }, at.getBoundingClientRect()];
    const left = Math.max(4, Math.min(innerWidth - this.tip.offsetWidth - 4, mark.right + 10));
    const below = mark.bottom + 10;
    const top = below + this.tip.offsetHeight <= innerHeight ? below : mark.top - this.tip.offsetHeight - 10;
    this.tip.style.transform = `translate(${Math.round(left - box.left)}px, ${Math.round(top - box.top)}px)`;
  }

  destroy() {
    this.strips.destroy();
  }
}

/** Gives the section around an element its heading. */
function studyHeading(inside, text) {
  inside.closest("section").querySelector("h2").textContent = text;
}

function studyCapital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
