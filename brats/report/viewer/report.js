"use strict";
// In: the table of cases, whose rows name a script each, with the volumes as .nii.gz in base64.
// Out: the table can be sorted, and a viewer shows the cases.

const element = (id) => document.getElementById(id);
const body = document.querySelector("#cases tbody");
const caseRows = () => [...body.rows];

// ---- The table

function chooseMetric() {
  const metric = element("metric").value;
  for (const cell of document.querySelectorAll("#cases [data-metric]")) {
    cell.hidden = metric !== "" && cell.dataset.metric !== metric;
  }
  const best = element("metric").selectedOptions[0].dataset.best;
  element("worst").disabled = element("best").disabled = !best;
}

// Rows without a value always come last.
function sortRows(valueOf, descending) {
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const entries = caseRows().map((row) => [valueOf(row), row]);
  const known = entries.filter(([value]) => value !== null);
  known.sort(([a], [b]) => (descending ? compare(b, a) : compare(a, b)));
  const missing = entries.filter(([value]) => value === null);
  body.append(...[...known, ...missing].map(([, row]) => row));
}

function markSorted(header, descending) {
  for (const other of document.querySelectorAll("#cases th[aria-sort]")) {
    other.setAttribute("aria-sort", "none");
  }
  header?.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

function cellValue(cell) {
  return cell?.dataset.value === undefined ? null : Number(cell.dataset.value);
}

function sortByHeader(header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  const index = header.cellIndex;
  const valueOf = index === 0 ? (row) => row.dataset.case : (row) => cellValue(row.cells[index]);
  sortRows(valueOf, descending);
  markSorted(header, descending);
}

// Sorts by the mean over the regions.
function sortByMean(worstFirst) {
  const { value: metric, selectedOptions } = element("metric");
  const meanOf = (row) => {
    const cells = [...row.cells].filter((cell) => cell.dataset.metric === metric);
    const values = cells.map(cellValue).filter((value) => value !== null);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  };
  sortRows(meanOf, (selectedOptions[0].dataset.best === "max") !== worstFirst);
  markSorted(null);
}

for (const header of document.querySelectorAll("#cases th[aria-sort]")) {
  header.querySelector("button").addEventListener("click", () => sortByHeader(header));
}
// Without scores there is nothing to choose.
if (element("metric")) {
  element("metric").addEventListener("change", chooseMetric);
  element("worst").addEventListener("click", () => sortByMean(true));
  element("best").addEventListener("click", () => sortByMean(false));
  element("by-name").addEventListener("click", () => {
    const header = document.querySelector("#cases th[aria-sort]");
    markSorted(null);
    sortByHeader(header);
  });
  chooseMetric();
}
body.addEventListener("click", (event) => {
  if (event.target.closest(".open")) openCase(event.target.closest("tr"));
});

// ---- The viewer

const ALL_PLANES = 3; // NiiVue numbers its views: axial, coronal, sagittal, all.
const facts = JSON.parse(element("facts").textContent);
const dialog = element("viewer");
let starting = null; // The promise of `niivue`, once a case has been opened.
let niivue = null; // The one viewer of the page: browsers drop the oldest of many contexts.
let shown = null; // The open case: its row, and its images by name once they are read.

async function openCase(row) {
  if (!dialog.open) dialog.showModal();
  dialog.ariaBusy = "true";
  const opened = (shown = { row, images: null });
  element("viewer-case").textContent = row.dataset.case;
  const warnings = row.querySelector(".warnings")?.cloneNode(true);
  if (warnings) warnings.open = true;
  element("viewer-results").replaceChildren(...(warnings ? [warnings] : []), ...resultTables(row));
  try {
    if (!starting && !document.createElement("canvas").getContext("webgl2")) {
      return showThumbnail(row);
    }
    niivue = await (starting ??= startViewer());
    await showImages(opened);
  } catch (error) {
    if (opened === shown) element("notice").textContent = `The viewer failed: ${error.message}`;
    throw error;
  }
}

async function startViewer() {
  const script = document.createElement("script");
  script.textContent = element("niivue").textContent;
  document.head.append(script);
  const viewer = new globalThis.niivue.Niivue({
    isRadiologicalConvention: true,
    showAllOrientationMarkers: true,
    dragAndDropEnabled: false,
    multiplanarPadPixels: 20,
    multiplanarShowRender: 0, // Never.
    viewModeHotKey: "",
    clipPlaneHotKey: "",
    cycleClipPlaneHotKey: "",
    crosshairColor: [0.4, 0.75, 1, 0.7],
    fontColor: [0.85, 0.85, 0.85, 1],
    showLegend: false,
    logLevel: "warn",
  });
  await viewer.attachTo("canvas");
  viewer.onLocationChange = showSliceNumber;
  return viewer;
}

function showThumbnail(row) {
  const picture = row.querySelector("img").cloneNode();
  element("notice").replaceChildren(
    picture,
    "This browser has no WebGL 2, so you cannot scroll through the slices. " +
      "This is the slice with most predicted tumor.",
  );
  dialog.ariaBusy = "false";
}

// A page from disk may not read files, but it may load scripts. That of a case hands over volumes.
globalThis.receiveVolumes = (volumes) => (document.currentScript.volumes = volumes);

function loadVolumes(row) {
  const script = document.createElement("script");
  script.src = row.dataset.file;
  return new Promise((resolve, reject) => {
    const missing = `Cannot load ${row.dataset.file}, which belongs beside the report. Run predict.py again.`;
    script.onload = () => (script.volumes ? resolve(script.volumes) : reject(new Error(missing)));
    script.onerror = () => reject(new Error(missing));
    document.head.append(script);
  }).finally(() => script.remove());
}

// Without a reference there is nothing to choose.
function offerLabels(hasReference) {
  element("labels").disabled = element("labels").parentElement.hidden = !hasReference;
  if (!hasReference) element("labels").value = "prediction";
}

async function readImage(volumes, name, colors) {
  const image = await globalThis.niivue.NVImage.loadFromBase64({
    base64: volumes[name],
    name: `${name}.nii.gz`,
    colormap: "gray",
    cal_min: 0,
    cal_max: facts.maxGray,
  });
  if (colors) {
    const [R, G, B] = [0, 1, 2].map((channel) => colors.map((color) => color[channel]));
    image.setColormapLabel({ R, G, B, A: colors.map((_, index) => (index ? 255 : 0)) });
  }
  return image;
}

// Turns a label image into outlines, one voxel wide, in its axial slices. As in the pictures, 1 is
// the white line of the whole tumor, and 2 the black line of the core and a black line around the
// white one, which separates it from bright tissue. White wins where the lines would meet.
function drawOutlines(image) {
  const width = image.hdr.dims[1];
  const rim = (mask) =>
    mask.map(
      (inside, at) =>
        inside && [at - 1, at + 1, at - width, at + width].some((near) => mask[near] === 0),
    );
  const labels = image.img;
  const white = rim(labels.map((label) => label > 0));
  const halo = rim(labels.map((label) => label === 0));
  const core = rim(labels.map((label, at) => facts.core.includes(label) && !white[at]));
  image.img = white.map((line, at) => (line ? 1 : 2 * (halo[at] | core[at])));
}

async function showImages(opened) {
  const { row } = opened;
  const volumes = await loadVolumes(row);
  const [black, white] = [[0, 0, 0], [255, 255, 255]];
  const images = {};
  for (const { value } of element("background").options) {
    images[value] = await readImage(volumes, value);
  }
  images.prediction = await readImage(volumes, "prediction", [black, ...facts.colors]);
  if (volumes.reference) {
    images.reference = await readImage(volumes, "reference", [black, ...facts.colors]);
    images.outline = await readImage(volumes, "reference", [black, white, black]);
    drawOutlines(images.outline);
  }
  if (opened !== shown) return; // Another case was opened meanwhile.
  element("notice").replaceChildren();
  offerLabels("reference" in images);
  opened.images = images;
  drawLayers();
  row.dataset.start.split(" ").forEach((number, axis) => showSlice(axis, Number(number)));
  showPlane();
  dialog.ariaBusy = "false";
}

function drawLayers() {
  const { images } = shown;
  if (!images) return;
  const choice = element("labels").value;
  element("outline-legend").hidden = choice !== "both";
  const opacity = element("overlay").checked ? Number(element("opacity").value) : 0;
  images.prediction.opacity = choice === "reference" ? 0 : opacity;
  if (images.reference) {
    images.reference.opacity = choice === "reference" ? opacity : 0;
    images.outline.opacity = choice === "both" && opacity ? 1 : 0;
  }
  const { prediction, reference, outline } = images;
  const overlays = [prediction, reference, outline].filter(Boolean);
  niivue.volumes = [images[element("background").value], ...overlays];
  niivue.back = niivue.volumes[0];
  niivue.overlays = overlays;
  niivue.updateGLVolume();
}

// A plane has the number of the axis that crosses it: 0 points to the left, 1 to posterior, 2 up.
// The volumes are stored in this order; NiiVue counts the first two in the other direction.
const sliderAxis = () => (element("plane").value === "all" ? 2 : Number(element("plane").value));
const sizeAlong = (axis) => niivue.volumes[0].dimsRAS[axis + 1];
const firstAlong = (axis) => Number(shown.row.dataset.first.split(" ")[axis]);
const turned = (axis, index) => (axis === 2 ? index : sizeAlong(axis) - 1 - index);

function showPlane() {
  if (!shown.images) return;
  const all = element("plane").value === "all";
  niivue.setCrosshairWidth(all ? 1 : 0);
  niivue.setSliceType(all ? ALL_PLANES : 2 - sliderAxis());
  showSliceNumber();
}

function showSlice(axis, number) {
  const index = Math.min(Math.max(number - firstAlong(axis), 0), sizeAlong(axis) - 1);
  const voxel = niivue.frac2vox(niivue.scene.crosshairPos);
  voxel[axis] = turned(axis, index);
  niivue.scene.crosshairPos = niivue.vox2frac(voxel);
  niivue.drawScene();
  showSliceNumber();
}

function showSliceNumber() {
  const axis = sliderAxis();
  const first = firstAlong(axis);
  const index = turned(axis, niivue.frac2vox(niivue.scene.crosshairPos)[axis]);
  const slider = element("slice");
  [slider.min, slider.max] = [first, first + sizeAlong(axis) - 1];
  slider.value = first + index;
  element("slice-number").value = slider.value;
}

// Returns the tables of a case: scores by region, and volumes, each in a line of its own.
function resultTables(row) {
  const groups = new Map();
  for (const cell of row.querySelectorAll("td[data-value]")) {
    const [label, part] = document.querySelectorAll("#cases thead th")[cell.cellIndex]
      .querySelector("button").children;
    if (!groups.has(label.textContent)) groups.set(label.textContent, []);
    groups.get(label.textContent).push([part.textContent, cell.textContent]);
  }
  const volumes = [...groups].pop();
  groups.delete(volumes?.[0]);
  const regions = [...groups.values()][0]?.map(([part]) => part);
  const scores = [...groups].map(([label, entries]) => [label, ...entries.map(([, text]) => text)]);
  return [
    ...(regions ? [makeTable(["", ...regions], scores)] : []),
    ...(volumes ? [makeTable([volumes[0], ""], volumes[1])] : []),
  ];
}

function makeTable(header, lines) {
  const table = document.createElement("table");
  for (const [number, texts] of [header, ...lines].entries()) {
    const line = table.insertRow();
    for (const [index, text] of texts.entries()) {
      const cell = document.createElement(number && index ? "td" : "th");
      cell.textContent = text;
      line.append(cell);
    }
  }
  return table;
}

// Opens the next or previous case in the order of the table.
function openNeighbor(step) {
  const rows = caseRows();
  const neighbor = rows[rows.indexOf(shown.row) + step];
  if (neighbor) openCase(neighbor);
}

function chooseNext(id) {
  if (element(id).disabled) return;
  const options = [...element(id).options];
  const next = (options.indexOf(element(id).selectedOptions[0]) + 1) % options.length;
  element(id).value = options[next].value;
  drawLayers();
}

function moveSlice(step) {
  if (shown.images) showSlice(sliderAxis(), Number(element("slice").value) + step);
}

const keys = {
  ArrowUp: () => moveSlice(1),
  ArrowDown: () => moveSlice(-1),
  ArrowLeft: () => openNeighbor(-1),
  ArrowRight: () => openNeighbor(1),
  o: () => element("overlay").click(),
  l: () => chooseNext("labels"),
  i: () => chooseNext("background"),
};

// Handles keys before NiiVue, which has its own. Lists and sliders keep theirs.
dialog.addEventListener(
  "keydown",
  (event) => {
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("select, input[type=range]")) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  },
  true,
);
element("slice").addEventListener("input", () => moveSlice(0));
element("plane").addEventListener("change", showPlane);
for (const id of ["background", "overlay", "labels", "opacity"]) {
  element(id).addEventListener("input", drawLayers);
}
element("controls").addEventListener("submit", (event) => event.preventDefault());
element("previous").addEventListener("click", () => openNeighbor(-1));
element("next").addEventListener("click", () => openNeighbor(1));
element("close").addEventListener("click", () => dialog.close());
