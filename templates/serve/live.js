// The live part: follows the state that the server sends, and asks it to cut, slow and heal.
//
// The token of the page's own address goes with every request as a header. It is in no cookie, so no other page can
// make the browser send it.
(function () {
  const holder = typeof document === 'object' ? document.getElementById('live') : null;
  if (!holder) { return; }
  const setup = JSON.parse(holder.textContent);
  const token = new URLSearchParams(location.search).get('token') || '';
  const byId = (id) => document.getElementById(id);
  const picture = document.querySelector('.topology');
  const banner = byId('banner');
  let last = null;
  let lastAt = 0;

  function element(name, text, className) {
    const made = document.createElement(name);
    made.textContent = text;
    if (className) { made.className = className; }
    return made;
  }

  const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });
  const number = (value) => value.toLocaleString('en');

  function bytes(value) {
    const units = ['B', 'kB', 'MB', 'GB', 'TB'];
    let at = 0;
    while (value >= 1000 && at < units.length - 1) { value /= 1000; at += 1; }
    return (at ? value.toFixed(1) : String(value)) + ' ' + units[at];
  }

  function lasting(seconds) {
    if (seconds === null) { return 'until it is healed'; }
    const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60];
    return minutes ? minutes + ' min ' + rest + ' s left' : rest + ' s left';
  }

  function chip(text, className) {
    const chip = byId('live-state');
    chip.className = className;
    chip.querySelector('span').textContent = text;
  }

  function tell(text) {
    banner.hidden = !text;
    if (banner.textContent !== (text || '')) { banner.textContent = text || ''; }
    if (picture) { picture.classList.toggle('stopped', Boolean(text)); }
  }

  // --- The state ---

  function figures(live) {
    const packets = live.packets;
    for (const name of ['delivered', 'blocked', 'dropped']) { byId(name).textContent = packets ? number(packets[name]) : '–'; }
    byId('states').replaceChildren(live.states === null ? '–' : number(live.states), element('small', live.statesLimit === null ? '' : ' / ' + number(live.statesLimit)));
    const findings = byId('findings');
    findings.hidden = !live.findings.length;
    findings.replaceChildren(...live.findings.map((it) => element('li', it.about + ': ' + it.what)));
  }

  function faultWords(fault) {
    const to = fault.to === null ? 'all others' : fault.to;
    return (fault.action === 'partition' ? 'cut: ' : 'slow: ') + fault.from + ' ↔ ' + to + (fault.conditions ? ', ' + fault.conditions : '');
  }

  // Rows are kept where they are the same, so that a focused button stays focused while the seconds count.
  function faults(live) {
    const list = byId('faults');
    byId('no-faults').hidden = live.faults.length > 0;
    const old = new Map(Array.from(list.children, (it) => [it.dataset.key, it]));
    const rows = live.faults.map((fault, at) => {
      const words = faultWords(fault);
      const key = words + '#' + live.faults.slice(0, at).filter((it) => faultWords(it) === words).length;
      let row = old.get(key);
      if (!row) {
        row = element('li', '', fault.action);
        row.dataset.key = key;
        row.append(element('span', words), element('time', ''));
        if (setup.writable) {
          const button = element('button', 'Heal');
          button.type = 'button';
          button.setAttribute('aria-label', 'Heal ' + words);
          button.addEventListener('click', () => ask('/heal', { one: fault.from, other: fault.to }));
          row.append(button);
        }
      }
      row.querySelector('time').textContent = lasting(fault.seconds);
      return row;
    });
    if (rows.length !== list.children.length || rows.some((row, at) => row !== list.children[at])) { list.replaceChildren(...rows); }
  }

  function counters(live, elapsed) {
    const before = new Map((last ? last.counters : []).map((it) => [it.label, it]));
    const sum = (pair) => pair[0] + pair[1];
    const busy = new Set();
    const rows = live.counters.filter((it) => sum(it.packets) > 0).map((it) => {
      const links = setup.labels[it.label] || [];
      const was = before.get(it.label);
      const grown = last ? sum(it.packets) - (was ? sum(was.packets) : 0) : 0;
      if (grown > 0) { links.forEach((link) => busy.add(String(link))); }
      const row = element('tr', '');
      const name = element('th', it.label.replace(/^link:/, ''));
      name.scope = 'row';
      row.append(name, element('td', links.map((link) => 'links.' + link).join(', ')), element('td', number(sum(it.packets))),
        element('td', bytes(sum(it.bytes))), element('td', elapsed > 0 ? number(Math.round(Math.max(0, grown) / elapsed)) : '–'));
      return [links.length ? 0 : 1, row];
    });
    rows.sort((a, b) => a[0] - b[0]);
    byId('counters').replaceChildren(...rows.map((it) => it[1]));
    byId('counter-table').hidden = !rows.length;
    byId('no-counters').hidden = rows.length > 0;
    document.querySelectorAll('.topology [data-link]').forEach((it) => it.classList.toggle('busy', busy.has(it.dataset.link)));
  }

  function flows(live) {
    const known = live.flows !== null;
    const words = !known ? 'Not known: the Mac was not asked for its states.' : live.flows.length ? '' : 'Nobody: no flow has a state.';
    byId('no-flows').textContent = words + (live.moreFlows ? number(live.moreFlows) + ' more are not shown.' : '');
    byId('flow-table').hidden = !known || !live.flows.length;
    byId('flow-rows').replaceChildren(...(live.flows || []).map((it) => {
      const row = element('tr', '');
      const from = element('th', it.from);
      from.scope = 'row';
      row.append(from, element('td', it.to), element('td', it.service), element('td', number(it.connections)));
      return row;
    }));
  }

  function take(live) {
    if (live.page !== setup.page) { location.reload(); return; }
    const now = performance.now();
    const elapsed = last && last.up ? (now - lastAt) / 1000 : 0;
    tell(live.up ? null : (live.message || 'not up'));
    if (!live.up) { chip(live.source === 'lab' ? 'no lab' : 'down', 'warning'); }
    else if (live.healthy === false) { chip('not as declared', 'warning'); }
    else if (live.faults.length) { chip(live.faults.length + (live.faults.length === 1 ? ' fault in force' : ' faults in force'), 'warning'); }
    else { chip(live.source === 'lab' ? 'the lab is up' : 'as declared', 'calm'); }
    figures(live);
    faults(live);
    counters(live, elapsed);
    flows(live);
    draw(live.faults);
    last = live;
    lastAt = now;
  }

  // --- The picture: what is cut or slow is drawn over it ---

  function svg(name, attributes) {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) { made.setAttribute(key, value); }
    return made;
  }

  function box(name) {
    for (const kind of ['provider', 'volume', 'end']) {
      const of = Array.from(picture.querySelectorAll('g[data-' + kind + '="' + CSS.escape(name) + '"] > rect'));
      if (of.length) { return ['x', 'y', 'width', 'height'].map((it) => Number(of[0].getAttribute(it))); }
    }
    return null;
  }

  // From side to side: between columns straight across, inside one around its outer edge.
  function between(one, other) {
    const [left, right] = one[0] <= other[0] ? [one, other] : [other, one];
    const middle = (it) => it[1] + it[3] / 2;
    if (left[0] + left[2] < right[0]) {
      const [x1, y1, x2, y2] = [left[0] + left[2], middle(left), right[0], middle(right)];
      return ['M' + x1 + ' ' + y1 + 'L' + x2 + ' ' + y2, x1 + 0.87 * (x2 - x1), y1 + 0.87 * (y2 - y1)];
    }
    const [x, y1, y2] = [Math.max(one[0] + one[2], other[0] + other[2]), middle(one), middle(other)];
    const out = x + 26 + Math.abs(y2 - y1) / 12;
    return ['M' + (one[0] + one[2]) + ' ' + y1 + 'C' + out + ' ' + y1 + ' ' + out + ' ' + y2 + ' ' + (other[0] + other[2]) + ' ' + y2, (x + 3 * out) / 4, (y1 + y2) / 2];
  }

  function around(one) {
    const [x, y, width, height] = one;
    const edge = 'M' + (x - 4) + ' ' + (y - 4) + 'h' + (width + 8) + 'v' + (height + 8) + 'h' + -(width + 8) + 'z';
    return [edge, x + width - 56, y - 4];
  }

  function draw(all) {
    if (!picture) { return; }
    picture.querySelectorAll('.troubles').forEach((it) => it.remove());
    // Lines run under the labels of links, and what they mean stands above all.
    const [lines, labels] = [0, 1].map(() => svg('g', { class: 'troubles', 'aria-hidden': 'true' }));
    const taken = [];
    for (const fault of all) {
      const one = box(fault.from);
      const other = fault.to === null ? null : box(fault.to);
      if (!one || (fault.to !== null && !other)) { continue; }
      const shape = other ? between(one, other) : around(one);
      const x = shape[1];
      let y = shape[2];
      while (taken.some((it) => Math.abs(it[0] - x) < 90 && Math.abs(it[1] - y) < 22)) { y += 23; }
      taken.push([x, y]);
      const delay = /[0-9]+ ms/.exec(fault.conditions || '');
      const words = (fault.action === 'partition' ? 'cut' : delay ? '+' + delay[0] : 'slow') + (fault.seconds === null ? '' : ' · ' + fault.seconds + ' s');
      const width = words.length * 7.4 + 14;
      const text = svg('text', { x, y: y + 4 });
      text.textContent = words;
      const [line, label] = [lines, labels].map((layer) => layer.appendChild(svg('g', { class: fault.action })));
      line.append(svg('path', { d: shape[0] }));
      label.append(svg('rect', { x: x - width / 2, y: y - 10, width, height: 20, rx: 10 }), text);
    }
    picture.insertBefore(lines, picture.querySelector('g.link'));
    picture.append(labels);
  }

  // --- The controls ---

  async function ask(path, body) {
    const did = byId('did');
    try {
      const headers = { 'X-Nixvol-Token': token, 'Content-Type': 'application/json' };
      const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body), cache: 'no-store' });
      did.textContent = (response.ok ? '' : 'error: ') + (await response.text()).trim();
    } catch (error) {
      did.textContent = 'error: the server does not answer (' + error.message + ')';
    }
  }

  function amount(form, name) {
    const text = form.elements[name].value.trim().replace(',', '.');
    if (!text) { return null; }
    const value = Number(text);
    if (!Number.isFinite(value) || value < 0) {
      form.elements[name].focus();
      throw new RangeError(form.elements[name].labels[0].textContent + ': `' + text + '` is not a number');
    }
    return value;
  }

  const form = byId('trouble');
  if (form) {
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const action = event.submitter ? event.submitter.value : 'partition';
      const [one, other] = ['one', 'other'].map((name) => form.elements[name].value.trim());
      try {
        if (action === 'heal') { ask('/heal', { one, other: other || null }); return; }
        const body = { action, one, other: other || null, seconds: amount(form, 'seconds') };
        if (action === 'slow') {
          const loss = amount(form, 'loss');
          Object.assign(body, { latencyMs: amount(form, 'latencyMs'), loss: loss === null ? null : loss / 100, bandwidthKbit: amount(form, 'bandwidthKbit') });
        }
        ask('/fault', body);
      } catch (error) {
        if (!(error instanceof RangeError)) { throw error; }
        byId('did').textContent = 'error: ' + error.message;
      }
    });
    // A cell of the matrix names the two ends.
    document.addEventListener('click', (event) => {
      const cell = event.target.closest('#provider-matrix tbody td');
      if (!cell) { return; }
      const to = cell.closest('table').tHead.rows[0].cells[cell.cellIndex].dataset;
      const from = cell.parentElement.cells[0].dataset;
      const name = (it) => it.provider || (it.end === 'localhost' ? '' : it.end) || '';
      if (name(from) && name(to) && name(from) !== name(to)) {
        form.elements.one.value = name(from);
        form.elements.other.value = name(to);
      }
    });
  }

  // --- The stream ---

  async function follow() {
    const response = await fetch('/events', { headers: { 'X-Nixvol-Token': token }, cache: 'no-store' });
    if (!response.ok) { throw new Error((await response.text()).trim()); }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const part = await reader.read();
      if (part.done) { return; }
      text += part.value;
      for (let at = text.indexOf('\n\n'); at >= 0; at = text.indexOf('\n\n')) {
        const data = text.slice(0, at).split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart());
        text = text.slice(at + 2);
        if (data.length) { take(JSON.parse(data.join('\n'))); }
      }
    }
  }

  async function keepFollowing() {
    for (;;) {
      let why = 'the connection was closed';
      try { await follow(); } catch (error) { why = error.message; }
      chip('no connection', 'warning');
      tell('nixvol-net serve does not answer (' + why + '). If it was ended, start it again and open the address that it prints.');
      last = null;
      await pause(1000);
    }
  }

  keepFollowing();
}());
