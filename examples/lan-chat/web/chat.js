// The web client: what is written to a channel is sent by POST, what others write comes as server-sent events.
"use strict";

const find = (id) => document.getElementById(id);
const fields = { channel: find("channel"), author: find("author"), text: find("text") };
let source;

fields.channel.value = location.hash.slice(1) || "lobby";
fields.author.value = localStorage.getItem("author") || "";

function show(message) {
  const item = document.createElement("li");
  const author = document.createElement("strong");
  const time = document.createElement("time");
  const text = document.createElement("p");
  author.textContent = message.author; // never as HTML: others wrote it
  time.textContent = new Date(message.time).toLocaleTimeString();
  time.title = `taken by ${message.node}`;
  text.textContent = message.text;
  item.append(author, time, text);
  find("messages").append(item);
  item.scrollIntoView();
}

function enter() {
  if (source) source.close();
  find("messages").replaceChildren();
  location.hash = fields.channel.value;
  // The browser connects again by itself, and sends the id of the last message that it got.
  source = new EventSource(`/api/channels/${encodeURIComponent(fields.channel.value)}/events`);
  source.onopen = () => { find("state").textContent = "connected"; };
  source.onerror = () => { find("state").textContent = "connecting …"; };
  source.onmessage = (event) => show(JSON.parse(event.data));
}

find("send").addEventListener("submit", async (event) => {
  event.preventDefault();
  localStorage.setItem("author", fields.author.value);
  let problem = "";
  try {
    const answer = await fetch(`/api/channels/${encodeURIComponent(fields.channel.value)}/messages`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ author: fields.author.value, text: fields.text.value }),
    });
    if (answer.ok) fields.text.value = "";
    else problem = (await answer.json()).error;
  } catch (error) {
    problem = "The gateway does not answer; nothing was sent.";
  }
  find("error").textContent = problem;
});

fields.channel.addEventListener("change", () => { if (fields.channel.reportValidity()) enter(); });
enter();
