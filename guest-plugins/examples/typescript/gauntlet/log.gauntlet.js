export { write } from 'gauntlet:policy/log@1.0.0';
