-- Switches maintenance off. KEYS: switch.
redis.call('DEL', KEYS[1])
return 'off'
