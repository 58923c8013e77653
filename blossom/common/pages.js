"use strict";
// What the pages of reviewers and of raters have in common. Data comes in as JSON and reaches the page as text nodes and
// values only, never as innerHTML; results leave as a file.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const { data: dataset, aria, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(aria || {})) element.setAttribute(`aria-${name}`, value);
  Object.assign(element.dataset, dataset || {});
  element.append(...children.filter((child) => child !== null));
  return element;
}
function download(content, name) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  make("a", { href: url, download: `${name.replace(/[^\p{L}\p{N}_-]+/gu, "_")}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
async function parsed(file) { // null when it is not JSON
  try { return JSON.parse(await file.text()); } catch { return null; }
}
