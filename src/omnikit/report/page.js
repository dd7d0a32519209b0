"use strict";
// One sound at a time, and a line that moves through the drawing of the sound that plays.
const players = [...document.querySelectorAll("audio")];
for (const player of players) {
  player.addEventListener("play", () => {
    for (const other of players) if (other !== player) other.pause();
  });
}
for (const card of document.querySelectorAll("article.card")) {
  const drawing = card.querySelector("svg.sound");
  const sounds = card.querySelectorAll("audio");
  if (!drawing || !sounds.length) continue;
  const player = sounds[sounds.length - 1];
  const line = drawing.querySelector(".playhead");
  const left = Number(drawing.dataset.left), width = Number(drawing.dataset.width);
  const move = () => {
    const x = left + width * (player.duration ? player.currentTime / player.duration : 0);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    drawing.classList.toggle("playing", !player.paused);
    if (!player.paused) requestAnimationFrame(move);
  };
  for (const event of ["play", "pause", "seeked", "ended"]) player.addEventListener(event, move);
  drawing.addEventListener("click", (event) => {
    const box = drawing.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * drawing.viewBox.baseVal.width - left) / width;
    if (player.duration) player.currentTime = Math.min(Math.max(share, 0), 1) * player.duration;
    player.play();
  });
}
