// One page, no server: data comes in as JSON, everything typed goes to localStorage at once, and leaves as a file.
// Text of the data set is only ever given to textContent and value, never to innerHTML.

const PURPOSE = data.rows.some((row) => row.versions) ? "blossom-conflicts" : "blossom-review"; // a page of conflicts starts anew
const ROOT = `${PURPOSE}/${data.digest}`;
const LABELS = [["none", "없음", "none"], ["ne_change", "고유명사 바꿈", "NE change"], ["topic_change", "주제 바꿈", "topic change"]];
const rows = new Map(data.rows.map((row) => [row.id, row]));
const state = { reviewer: "", work: new Map(), at: null, filter: "all", changes: false, unsaved: new Set() };

const small = (text) => make("small", { lang: "en" }, text);
const both = (korean, english) => [korean + " ", small(english)];

function nameOf(key) {
  const fixed = { instruction: ["지시문", "Instruction"], input: ["입력", "Input"], output: ["답변", "Output"] };
  if (fixed[key]) return fixed[key];
  const [, turn, role] = key.split(".");
  return role === "user" ? [`앞선 대화 ${turn} · 질문`, `Turn ${turn}, user`] : [`앞선 대화 ${turn} · 답변`, `Turn ${turn}, assistant`];
}

// ------------------------------------------------------------------ what the reviewer did: in memory, and in localStorage

const place = (id) => `${ROOT}/${encodeURIComponent(state.reviewer)}/${id}`;

function read(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}
function write(key, value) {
  try { localStorage.setItem(key, value); return true; } catch { return false; }
}
function fresh(row) {
  return { fields: Object.fromEntries(row.fields.map((f) => [f.key, f.draft])), adaptation: "none", note: "", done: false, edited: "" };
}
const workOf = (id) => state.work.get(id) || fresh(rows.get(id));

function keep(id, change) {
  const work = Object.assign(workOf(id), change, { edited: new Date().toISOString() });
  state.work.set(id, work);
  store(id);
}
function store(id) {
  if (write(place(id), JSON.stringify(state.work.get(id)))) state.unsaved.delete(id);
  else state.unsaved.add(id);
  showSaved();
  showProgress();
  showItem(id);
}
function showSaved() {
  const bad = state.unsaved.size > 0;
  $("saved").classList.toggle("bad", bad);
  $("saved").textContent = bad ? "저장 안 됨: 지금 내보내기 하세요 · NOT saved, export now" : "저장됨 ✓";
  $("saved").title = bad ? "" : `이 브라우저에 저장됨 · saved in this browser, ${new Date().toLocaleTimeString("ko")}`;
}
function sound(row, saved) { // does a stored or imported row have the form of this page's row?
  return saved && typeof saved === "object" && saved.fields && typeof saved.note === "string" && typeof saved.done === "boolean"
    && LABELS.some(([name]) => name === saved.adaptation) && row.fields.every((f) => typeof saved.fields[f.key] === "string");
}
function load(reviewer) {
  state.reviewer = reviewer;
  state.work = new Map();
  for (const row of data.rows) {
    try {
      const saved = JSON.parse(read(place(row.id)));
      if (sound(row, saved)) state.work.set(row.id, saved);
    } catch { /* a broken entry counts as none */ }
  }
  state.unsaved = new Set(write(ROOT, reviewer) ? [] : ["storage"]);
  $("who").textContent = reviewer;
  showSaved();
  showProgress();
  showList();
  const last = read(`${ROOT}/${encodeURIComponent(reviewer)}`);
  go(rows.has(last) && visible().includes(last) ? last : visible()[0]);
}

// -------------------------------------------------------------------------------------------------------------- the list

function visible() {
  const kind = $("kind").value, sought = $("search").value.trim().toLowerCase();
  return [...rows.keys()].filter((id) => {
    const row = rows.get(id), work = workOf(id);
    if (state.filter === "flagged" && !row.flags.length) return false;
    if (state.filter === "open" && work.done && id !== state.at) return false;
    if (kind && !row.flags.some((flag) => flag.kind === kind)) return false;
    return !sought || [id, row.category, work.note, ...Object.values(work.fields), ...row.fields.map((f) => f.english)]
      .some((text) => text.toLowerCase().includes(sought));
  });
}
function showList() {
  const shown = visible();
  $("list").replaceChildren(...shown.map((id) => {
    const button = make("button", { data: { id }, onclick: () => { go(id); closeMenu(); } },
      make("span", { className: "state" }), make("span", { className: "text" }), make("span", { className: "flags" }));
    return make("li", {}, button);
  }));
  shown.forEach(showItem);
  $("none").hidden = shown.length > 0;
}
function showItem(id) {
  const button = $("list").querySelector(`[data-id="${CSS.escape(id)}"]`);
  if (!button) return;
  const row = rows.get(id), work = workOf(id), touched = state.work.has(id);
  const [mark, said] = work.done ? ["✓", "완료"] : touched ? ["●", "고치는 중"] : ["○", "아직"];
  button.className = work.done ? "done" : "";
  button.setAttribute("aria-current", String(id === state.at));
  button.children[0].textContent = mark;
  button.children[0].title = said;
  button.children[1].textContent = work.fields.instruction || row.fields.find((f) => f.key === "instruction").english;
  button.children[2].textContent = row.flags.length ? `⚑ ${row.flags.length}` : "";
}
function showProgress() {
  const done = [...rows.keys()].filter((id) => workOf(id).done).length;
  $("bar").max = rows.size || 1;
  $("bar").value = done;
  $("count").textContent = `${done} / ${rows.size} 완료`;
}
function closeMenu() {
  $("side").classList.remove("open");
  $("menu").setAttribute("aria-expanded", "false");
}

// --------------------------------------------------------------------------------------------------------------- one row

function go(id) {
  const before = state.at;
  state.at = id || null;
  if (id) write(`${ROOT}/${encodeURIComponent(state.reviewer)}`, id);
  if (before && before !== id) state.filter === "open" ? showList() : showItem(before);
  showRow();
  if (!id) return;
  showItem(id);
  $("list").querySelector('[aria-current="true"]')?.scrollIntoView({ block: "nearest" });
  window.scrollTo(0, 0);
}
function step(by) {
  const shown = visible(), n = shown.indexOf(state.at);
  const next = shown[n + by];
  if (next !== undefined) go(next);
  return next !== undefined;
}
function showRow() {
  const id = state.at;
  if (!id) {
    $("row").replaceChildren(make("p", { className: "finished" }, ...both("맞는 행이 없습니다.", "No rows match.")));
    return;
  }
  const row = rows.get(id), number = [...rows.keys()].indexOf(id) + 1;
  const kinds = [...new Set(row.flags.map((flag) => flag.kind))];
  $("row").replaceChildren(
    make("div", { className: "head" },
      make("h2", {}, `${number}번 `, small(id)),
      make("span", { className: "meta" }, row.category),
      make("ul", { className: "chips", ariaLabel: "자동 표시 (flags)" },
        ...kinds.map((kind) => make("li", { className: "chip", title: data.kinds[kind][1] }, data.kinds[kind][0])))),
    make("div", { className: "columns titles", ariaHidden: "true" },
      make("div", {}, ...both("영어 원문", "English")), make("div", {}, ...both("초벌 번역", "Draft")),
      make("div", {}, ...both("한국어", "Korean, to edit"))),
    ...row.fields.map((field) => showField(row, field)), decisions(row), foot(row));
  document.querySelectorAll("textarea").forEach(grow);
}
function showField(row, field) {
  const work = workOf(row.id), [korean, english] = nameOf(field.key);
  const box = make("section", { className: "field", data: { field: field.key } });
  const draft = make("div", { className: "pane", lang: "ko", data: { title: "초벌 번역 Draft" } });
  const edit = make("textarea", { lang: "ko", value: work.fields[field.key], spellcheck: true, rows: 1,
    ariaLabel: `${korean} 한국어 (${english}, Korean)`,
    oninput: () => {
      keep(row.id, { fields: { ...workOf(row.id).fields, [field.key]: edit.value } });
      grow(edit);
      edit.classList.remove("missing");
      mark();
    } });
  const undo = make("button", { onclick: () => { edit.value = field.draft; edit.oninput(); edit.focus(); } },
    ...both("초벌로 되돌리기", "reset"));
  function mark() {
    const changed = edit.value !== field.draft;
    box.classList.toggle("changed", changed);
    undo.disabled = !changed;
    draft.classList.toggle("empty", !field.draft && !(state.changes && edit.value));
    if (state.changes && changed) draft.replaceChildren(...difference(field.draft, edit.value));
    else draft.textContent = field.draft || "(없음)";
  }
  box.mark = mark;
  const source = make("div", { className: "pane" + (field.english ? "" : " empty"), lang: "en", data: { title: "영어 원문 English" } },
    field.english || "(없음)");
  const hints = row.flags.filter((flag) => flag.field === field.key).map((flag) =>
    make("li", { className: "hint", title: data.kinds[flag.kind][1] }, data.kinds[flag.kind][0] + (flag.found ? `: ${flag.found}` : "")));
  const versions = (row.versions || []).map((version) => make("div", {},
    make("div", { className: "who" }, version.reviewer,
      make("button", { onclick: () => { edit.value = version.fields[field.key]; edit.oninput(); } }, ...both("이 글로", "use this"))),
    make("div", { className: "pane", lang: "ko" }, ...difference(field.draft, version.fields[field.key]))));
  box.append(
    make("div", { className: "bar" }, make("h3", {}, ...both(korean, english)), make("span", { className: "tools" }, undo)),
    hints.length ? make("ul", { className: "hints" }, ...hints) : "",
    make("div", { className: "columns" }, source, draft, make("div", { className: "edit", data: { title: "한국어 Korean" } }, edit)),
    versions.length ? make("div", { className: "versions" }, ...versions) : "");
  mark();
  if (field.key !== "input" || field.english || field.draft || edit.value) return box;
  const unused = make("p", { className: "unused" }, make("button", { className: "quiet", onclick: () => {
    unused.replaceWith(box);
    edit.focus();
  } }, ...both("＋ 입력 칸 쓰기", "use the input field")));
  return unused;
}
function grow(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}
function decisions(row) {
  const work = workOf(row.id);
  const versions = (row.versions || []).map((version) => {
    const label = LABELS.find(([name]) => name === version.adaptation)[1];
    return make("button", { onclick: () => { // everything as this reviewer left it
      keep(row.id, { fields: { ...version.fields }, adaptation: version.adaptation, note: version.note });
      showRow();
    } }, `${version.reviewer}: ${label}${version.note ? ` (${version.note})` : ""} `, small("use all"));
  });
  return make("section", { className: "field decide" },
    make("fieldset", {}, make("legend", {}, ...both("각색", "Adaptation")),
      make("div", { className: "choices" }, ...LABELS.map(([value, korean, english], n) => make("label", { title: `Alt+${n + 1}` },
        make("input", { type: "radio", name: "adaptation", value, checked: work.adaptation === value,
          onchange: () => keep(row.id, { adaptation: value }) }), ...both(korean, english)))),
      versions.length ? make("div", { className: "choices whole" }, ...versions) : null),
    make("label", {}, make("span", { className: "note-label" }, ...both("메모", "Note")),
      make("textarea", { id: "note", rows: 1, value: work.note, placeholder: "무엇을 왜 바꾸었는지 · what changed and why",
        oninput: (event) => { keep(row.id, { note: event.target.value }); grow(event.target); } })));
}
function foot(row) {
  const box = make("input", { type: "checkbox", id: "done", checked: workOf(row.id).done, onchange: () => {
    if (box.checked && !complete(row)) box.checked = false;
    else keep(row.id, { done: box.checked });
  } });
  return make("div", { className: "foot" },
    make("button", { onclick: () => step(-1), title: "Alt+↑" }, "← 이전"),
    make("button", { onclick: () => step(1), title: "Alt+↓" }, "다음 →"),
    make("button", { className: "quiet", id: "changes", aria: { pressed: String(state.changes) }, title: "Alt+D", onclick: toggleChanges },
      ...both(state.changes ? "바뀐 곳 감추기" : "바뀐 곳 보기", "changes")),
    make("span", { id: "told", role: "alert" }), make("span", { className: "spring" }),
    make("label", {}, box, " ", ...both("완료", "done")),
    make("button", { className: "main", id: "next", title: "Ctrl+Enter", onclick: finish }, ...both("완료하고 다음", "Done, next")));
}
function complete(row) { // every text that the English has must be there; a topic change may drop the input
  const missing = row.fields.find((f) => f.key !== "input" && f.english.trim() && !workOf(row.id).fields[f.key].trim());
  if (!missing) return true;
  $("told").textContent = `${nameOf(missing.key)[0]} 칸이 비어 있습니다.`;
  const area = document.querySelector(`[data-field="${missing.key}"] textarea`);
  area.classList.add("missing");
  area.focus();
  return false;
}
function finish() {
  const row = rows.get(state.at);
  if (!row || !complete(row)) return;
  keep(row.id, { done: true });
  if (!step(1)) {
    const open = [...rows.keys()].find((id) => !workOf(id).done);
    if (open && visible().includes(open)) go(open);
    else { showRow(); $("told").textContent = open ? "" : "모두 끝났습니다. 내보내기를 누르세요. 🎉"; }
  }
}
function toggleChanges() {
  state.changes = !state.changes;
  document.querySelectorAll("section.field").forEach((box) => box.mark?.());
  $("changes").replaceChildren(...both(state.changes ? "바뀐 곳 감추기" : "바뀐 곳 보기", "changes"));
  $("changes").setAttribute("aria-pressed", String(state.changes));
}

// Words of `after` with what was cut from and added to `before`: the longest common subsequence of words and spaces.
function difference(before, after) {
  let a = before.split(/(\s+)/), b = after.split(/(\s+)/);
  let start = 0, end = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const head = a.slice(0, start).join(""), tail = a.slice(a.length - end).join("");
  a = a.slice(start, a.length - end);
  b = b.slice(start, b.length - end);
  const parts = [];
  const add = (kind, text) => (parts.at(-1)?.[0] === kind ? (parts.at(-1)[1] += text) : parts.push([kind, text]));
  if (a.length * b.length > 4e6) parts.push(["del", a.join("")], ["ins", b.join("")]);
  else {
    const width = b.length + 1, best = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        best[i * width + j] = a[i] === b[j] ? best[(i + 1) * width + j + 1] + 1 : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    let i = 0, j = 0;
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { add("", a[i]); i++; j++; }
      else if (j >= b.length || (i < a.length && best[(i + 1) * width + j] >= best[i * width + j + 1])) add("del", a[i++]);
      else add("ins", b[j++]);
    }
  }
  return [head, ...parts.map(([kind, text]) => (kind ? make(kind, {}, text) : text)), tail];
}

// ------------------------------------------------------------------------------------------------------- out and in again

function exportFile() {
  const listed = [...state.work].map(([id, work]) => ({ id, ...work }));
  const content = { format: data.format, dataset: data.digest, title: data.title, reviewer: state.reviewer,
    exported: new Date().toISOString(), rows: listed };
  download(content, `review-${data.digest.slice(0, 8)}-${state.reviewer}`);
  tell(`${listed.length}행을 내보냈습니다.`);
}
function tell(text) {
  if ($("told")) $("told").textContent = text;
}
function ask(text, yes) {
  $("ask-text").textContent = text;
  $("ask-yes").textContent = yes;
  $("ask").returnValue = "";
  $("ask").showModal();
  return new Promise((resolve) => $("ask").addEventListener("close", () => resolve($("ask").returnValue === "yes"), { once: true }));
}
async function importFile(file) {
  const content = await parsed(file);
  if (!content || content.format !== data.format || !Array.isArray(content.rows) || typeof content.reviewer !== "string" || !content.reviewer.trim())
    return ask("이 페이지에서 내보낸 파일이 아닙니다. (not a file that this page exported)", "확인");
  if (content.dataset !== data.digest)
    return ask(`다른 데이터의 파일입니다: ${String(content.dataset).slice(0, 12)}. 이 페이지의 데이터는 ${data.digest.slice(0, 12)}입니다. (a file from another dataset)`, "확인");
  if (state.reviewer && content.reviewer !== state.reviewer
      && !(await ask(`${content.reviewer} 님의 파일입니다. ${content.reviewer}(으)로 이어서 할까요? (continue as this reviewer?)`, "이어서 하기"))) return;
  if ($("welcome").open) $("welcome").close("file");
  load(content.reviewer);
  let taken = 0, older = 0, strange = 0;
  for (const { id, ...work } of content.rows) {
    if (!rows.has(id) || !sound(rows.get(id), work)) strange++;
    else if (state.work.has(id) && state.work.get(id).edited >= work.edited) older++;
    else { state.work.set(id, work); store(id); taken++; }
  }
  showList();
  showProgress();
  go(state.at || visible()[0]);
  tell(`${taken}행을 가져왔습니다.` + (older ? ` ${older}행은 이 브라우저의 것이 더 새것이라 그대로 두었습니다.` : "")
    + (strange ? ` ${strange}행은 이 페이지에 없어서 건너뛰었습니다.` : ""));
}

// -------------------------------------------------------------------------------------------------------- keys and start

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const typing = /^(TEXTAREA|SELECT)$/.test(event.target.tagName) || event.target.type === "search";
  const control = event.ctrlKey || event.metaKey;
  const act = (action) => { // leaving the field first ends a Hangul syllable that is still being composed
    event.preventDefault();
    if (typing) event.target.blur();
    setTimeout(action, 0);
  };
  if (control && (event.key === "Enter" || event.code === "Enter")) act(finish);
  else if (control && !event.shiftKey && event.code === "KeyS") act(exportFile);
  else if (event.altKey && event.code === "ArrowDown") act(() => step(1));
  else if (event.altKey && event.code === "ArrowUp") act(() => step(-1));
  else if (event.altKey && event.code === "KeyD") { event.preventDefault(); toggleChanges(); }
  else if (event.altKey && /^Digit[123]$/.test(event.code)) {
    event.preventDefault();
    document.querySelectorAll('[name="adaptation"]')[event.code.slice(-1) - 1]?.click();
  } else if (typing) { if (event.key === "Escape") event.target.blur(); }
  else if (event.key === "/") act(() => $("search").focus());
  else if (event.key === "?") act(() => $("guide").showModal());
});
document.querySelectorAll("[data-filter]").forEach((button) => button.addEventListener("click", () => {
  state.filter = button.dataset.filter;
  document.querySelectorAll("[data-filter]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
  refilter();
}));
function refilter() {
  const shown = visible();
  showProgress();
  showList();
  if (!shown.includes(state.at)) go(shown[0]);
}
$("kind").append(make("option", { value: "" }, "모든 표시 · any flag"), ...Object.entries(data.kinds).map(([kind, [korean, english]]) => {
  const n = data.rows.filter((row) => row.flags.some((flag) => flag.kind === kind)).length;
  return make("option", { value: kind, disabled: !n }, `${korean} · ${english} (${n})`);
}));
$("kind").addEventListener("change", refilter);
$("search").addEventListener("input", refilter);
$("export").addEventListener("click", exportFile);
$("import").addEventListener("click", () => $("file").click());
$("continue").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", async () => {
  if ($("file").files[0]) await importFile($("file").files[0]);
  $("file").value = "";
});
$("help").addEventListener("click", () => $("guide").showModal());
$("menu").addEventListener("click", () => $("menu").setAttribute("aria-expanded", String($("side").classList.toggle("open"))));
function welcome() {
  $("name").value = state.reviewer;
  $("welcome").returnValue = "";
  $("welcome").showModal();
}
$("who").addEventListener("click", welcome);
$("welcome").addEventListener("close", () => {
  const name = $("name").value.trim().normalize("NFC");
  if ($("welcome").returnValue === "ok" && name) load(name);
  else if (!state.reviewer && $("welcome").returnValue !== "file") welcome();
});
window.addEventListener("storage", (event) => { // the same reviewer in another tab
  const id = [...rows.keys()].find((known) => state.reviewer && event.key === place(known));
  if (!id || !event.newValue) return;
  state.work.set(id, JSON.parse(event.newValue));
  showItem(id);
  showProgress();
  if (id === state.at && !$("row").contains(document.activeElement)) showRow();
});
window.addEventListener("beforeunload", (event) => { if (state.unsaved.size) event.preventDefault(); });
const known = read(ROOT);
if (known) load(known);
else welcome();
