// In a test of the policy's own there is no gateway.
export const write = (level, message) => console.error(`${level}: ${message}`);
